import pytest

from rag_ft.text.asking import asks_for_sentences, asks_for_several, asks_for_steps


@pytest.mark.parametrize(
    "question",
    [
        "How do I install HTTP/2 support?",
        "how to rotate the logs",
        "And how does it fail?",
        "Why are prompt tokens set to -100?",
        "My build was refused. Why?",
        "Is HTTP/2 enabled by default?",
        "Doesn't it need a key?",
        "If I cancel, do I lose the file?",
        "Should I fine-tune or use RAG?",
        "does a deadline still count?",
        "When should I merge an adapter?",
        "What is hedging?",
        "What's an API",
        "what does the b in BM25 do?",
        "What does misattributed mean?",
        "bfloat16 vs float16?",
        "What is the difference between rank and alpha?",
        "What happens to old papers?",
        "If I save the same file twice, does Shaka notice?",
        "After merging, is the model as fast as the plain base?",
        "I'd like to join two papers into one, how is that done?",
        "Training runs out of memory, what should I change first?",
        "What does calibrated mean for a confidence?",
        "lora_r and lora_alpha, what are they for",
        "What is the warm-up for?",
        "What is the best way to pin a version?",
        "compile a smaller player that has no subtitle code in it",
        "turn off all the logs",
        "Steps to get a newer version when pip can't overwrite it",
    ],
)
def test_these_ask_for_sentences(question):
    assert asks_for_sentences(question)


@pytest.mark.parametrize(
    "question",
    [
        "How many parameters does rank 16 add?",
        "how long is the timeout",
        "By how much do the two rules differ?",
        "How often does it run?",
        "Who wrote it?",
        "Which status code does the client get?",
        "Where is the file kept?",
        "What is the capital of Portugal?",
        "What is the default of $SIZE?",
        "When was the bridge built?",
        "What F1 does it get?",
        "Isotopes of which metal decay?",
        "Candles of what colour?",
        "What is he known for?",
        "What is LED short for?",
        "On Chromecast, what is the highest resolution?",
        "make it or break it who goes to the olympics",
        "test coverage of the parser",
        "If the port is taken, which one is used?",
        "",
        "?",
    ],
)
def test_these_ask_for_a_few_words(question):
    assert not asks_for_sentences(question)


def test_what_to_do_is_asked_for_by_how():
    assert all(
        map(asks_for_steps, ["How do I save?", "and how can I save", "It broke. How should I save?", "which steps?"])
    )
    assert not any(map(asks_for_steps, ["How many?", "Why do I save?", "Is it saved?", "Show how it looks."]))


@pytest.mark.parametrize(
    "question",
    [
        "which learning rates should I try?",
        "What are the signs of overfitting?",
        "who were the children of the founder",
        "Into which two parts does DoRA split a weight matrix?",
        "From which countries did they come?",
        "Which parts of a model are usually left unquantised?",
        "49th parallel is the boundary line between which two nations",
        "What kinds of energy are stored?",
        "What formats of tables can be read?",
        "target_modules: which ones should I list",
        "Through what methods?",
        "Name three adapters.",
        "please list the supported formats",
        "What are some other ways?",
    ],
)
def test_plural_words_ask_for_several_things(question):
    assert asks_for_several(question)


@pytest.mark.parametrize(
    "question",
    [
        "Which adapter should I take?",
        "Who wrote the songs?",
        "What makes a model run on?",
        "What happens to the weights?",
        "What happens if changes are detected?",
        "What happened when two runs were started?",
        "Which transformers option keeps markers?",
        "What share of sentences was backed?",
        "What does it cost?",
        "What is the status of the runs?",
        "What are the agents known as?",
        "What were the structures made of?",
        "Which class was it?",
        "What process is used?",
        "In what series was it?",
        "What compass did they use?",
        "How are the rates chosen?",
        "Is the list sorted?",
        "Why name the layers?",
        "",
    ],
)
def test_other_words_ask_for_one_thing(question):
    assert not asks_for_several(question)
