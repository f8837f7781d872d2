from rag_ft.text.opposites import OPPOSITES, SOFTWARE_OPPOSITES


def test_an_opposite_is_another_word_and_has_one_itself():
    assert all(word != other and other in OPPOSITES for word, other in OPPOSITES.items())
    assert (OPPOSITES["enabled"], OPPOSITES["highest"]) == ("disabled", "lowest")


def test_the_general_meaning_of_a_word_counts_before_that_in_software():
    assert SOFTWARE_OPPOSITES.keys() <= OPPOSITES.keys()
    assert (SOFTWARE_OPPOSITES["latest"], OPPOSITES["latest"]) == ("oldest", "earliest")
