import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.answering.prompt import PromptBuilder, TokenBudget
from rag_ft.errors import DatasetError
from rag_ft.schema import Passage
from rag_ft.training.data.collator import (
    IGNORE_INDEX,
    Branch,
    Collator,
    Encoded,
    Group,
    allowed_mask,
    branches_of,
    encode,
    flatten,
    group_spans,
    pack,
    sequence_of,
)
from rag_ft.training.data.examples import Example, ExampleConfig, make_examples
from rag_ft.training.steps.trainer import labelled_loss

ids = st.lists(st.integers(3, 60), min_size=1, max_size=6).map(tuple)
branches = st.builds(Branch, st.text("abc", min_size=1, max_size=3), ids, ids)
groups = st.lists(
    st.builds(Group, ids, st.lists(branches, min_size=1, max_size=4).map(tuple)), min_size=1, max_size=4
).map(tuple)


@given(ids, groups)
@settings(max_examples=60, deadline=None)
def test_a_branch_sees_its_head_its_context_and_itself_and_nothing_else(head, groups):
    row = flatten(head, groups)
    allowed = allowed_mask(row.segments, row.parents)
    position = 0
    for group in groups:
        for branch in group.branches:
            record, tokens, labels = sequence_of(row, position)
            sequence = [*head, *group.context, *branch.question, *branch.completion]
            assert (record, tokens) == (branch.record_id, sequence)
            assert labels == [IGNORE_INDEX] * (len(sequence) - len(branch.completion)) + list(branch.completion)
            last = max(
                i for i, s in enumerate(row.segments) if s == sorted(set(row.segments) - set(row.parents))[position]
            )
            seen = [i for i in range(len(row.input_ids)) if allowed[last, i]]
            assert [row.input_ids[i] for i in seen] == sequence
            assert [row.position_ids[i] for i in seen] == list(range(len(sequence)))
            position += 1


@given(ids, groups, st.integers(10, 60), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_packing_keeps_every_branch_once_and_rows_within_their_length(head, groups, row_tokens, seed):
    rows = pack(Encoded(head, groups, {}), row_tokens, seed)
    wanted = sorted(
        (branch.record_id, branch.question + branch.completion) for group in groups for branch in group.branches
    )
    assert sorted((record, tuple(tokens)) for row in rows for record, tokens, _ in branches_of(row)) == wanted
    for row in rows:
        assert len(row.input_ids) <= row_tokens or len(row.records) == 1
    assert rows == pack(Encoded(head, groups, {}), row_tokens, seed)


@given(ids, groups)
@settings(max_examples=60, deadline=None)
def test_the_flat_batch_lets_each_group_see_the_head_and_its_own_tree(head, groups):
    """The blocks of the tree, put together, are the mask of the whole row."""
    row = flatten(head, groups)
    batch = Collator(0)([row._asdict()])
    count, sizes = len(row.input_ids), batch["tree"]["sizes"]
    assert batch["input_ids"].tolist() == [row.input_ids] and sum(sizes) == count
    assert [(end - begin) for begin, end in group_spans(row)] == sizes[1:] == [group.tokens for group in groups]
    whole = torch.zeros(count, count, dtype=torch.bool)
    begin = 0
    for size, mask in zip(sizes, batch["tree"]["masks"], strict=True):
        seen = mask[0] == 0
        whole[begin : begin + size, : len(head)] = seen[:, : len(head)]
        whole[begin : begin + size, begin : begin + size] = seen[:, -size:]
        begin += size
    assert torch.equal(whole, allowed_mask(row.segments, row.parents))


@given(ids, st.lists(groups, min_size=2, max_size=3))
@settings(max_examples=30, deadline=None)
def test_several_rows_share_one_head(head, row_groups):
    rows = [flatten(head, groups) for groups in row_groups]
    together = Collator(0)([row._asdict() for row in rows])
    alone = Collator(0)([flatten(head, tuple(group for groups in row_groups for group in groups))._asdict()])
    for name in ("input_ids", "labels", "position_ids"):
        assert torch.equal(together[name], alone[name])
    assert together["tree"]["sizes"] == alone["tree"]["sizes"]


def _losses_and_gradients(model, rows, shared=True):
    from contextlib import nullcontext

    from rag_ft.training.steps.tree_attention import trees

    collator = Collator(2, shared=shared)
    model.requires_grad_(True).zero_grad()  # a base is loaded frozen; here every weight's gradient is compared
    total, count = 0.0, 0
    with trees(model) if shared else nullcontext():
        for row in rows:
            batch = collator([row._asdict()])
            labels = batch.pop("labels")
            loss, labelled = labelled_loss(model, batch, labels)
            loss.backward()
            total, count = total + float(loss.detach()), count + labelled
    return total, count, [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_shared_context_gives_the_loss_and_gradients_of_separate_sequences(tiny, encoded):
    together = pack(encoded, 700, 0)
    apart = pack(encoded, 700, 0, shared=False)
    computed = sum(Collator(2, shared=False)([row._asdict()])["input_ids"].numel() for row in apart)
    assert sum(len(row.input_ids) for row in together) < 0.5 * computed
    loss, count, gradients = _losses_and_gradients(tiny.model, together)
    loss_apart, count_apart, gradients_apart = _losses_and_gradients(tiny.model, apart, shared=False)
    assert count == count_apart
    assert loss / count == pytest.approx(loss_apart / count, abs=1e-4)
    for gradient, expected in zip(gradients, gradients_apart, strict=True):
        torch.testing.assert_close(gradient / count, expected / count, rtol=1e-3, atol=1e-6)


def test_separate_sequences_of_a_row_are_alike_in_length_and_padding_changes_no_loss(tiny, encoded):
    rows = pack(encoded, 700, 0, shared=False)
    assert sorted(record for row in rows for record in row.records) == sorted(
        branch.record_id for group in encoded.groups for branch in group.branches
    )
    for row in rows:
        batch = Collator(2, shared=False)([row._asdict()])
        assert batch["input_ids"].numel() <= 700 or len(row.records) == 1
    mixed = sorted(rows, key=lambda row: len(row.input_ids))
    chosen = [mixed[0], mixed[-1]]
    alone = sum(_losses_and_gradients(tiny.model, [row], shared=False)[0] for row in chosen)
    batch = Collator(2, shared=False)([row._asdict() for row in chosen])
    assert (batch["attention_mask"] == 0).any()
    labels = batch.pop("labels")
    assert float(labelled_loss(tiny.model, batch, labels)[0].detach()) == pytest.approx(alone, rel=1e-5)


def test_the_loss_is_the_models_own_over_labelled_tokens(tiny, world):
    index, questions = world
    encoded = encode(
        make_examples(questions, index, ExampleConfig()).examples[:3],
        PromptBuilder(tiny.tokenizer, shots=False),
        TokenBudget(1024, 96),
    )
    for row in pack(encoded, 500, 0, shared=False):
        batch = Collator(2, shared=False)([row._asdict()])
        labels = batch.pop("labels")
        loss, count = labelled_loss(tiny.model, batch, labels)
        model_loss = tiny.model(**batch, labels=labels).loss
        assert float(loss.detach()) / count == pytest.approx(float(model_loss.detach()), rel=1e-5)


def _trl_labels(tokenizer, records, folder):
    """Labels that trl's own completion-only preparation gives the same records."""
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from datasets import Dataset

    model = AutoModelForCausalLM.from_pretrained(folder)
    arguments = SFTConfig(
        output_dir=str(folder / "trl"),
        completion_only_loss=True,
        max_length=None,
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(records), processing_class=tokenizer
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(records))])
    return batch["input_ids"], batch["labels"]


def _many_questions(index, questions, copies):
    return [
        question.model_copy(
            update={"id": f"{question.id}-{copy}", "question": f"{question.question[:-1]}, in survey {copy}?"}
        )
        for copy in range(copies)
        for question in questions
    ]


@pytest.mark.slow
def test_labels_are_trls_completion_only_labels_on_a_thousand_records(tiny, tiny_llama_dir, world, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_llama_dir, folder)
    index, questions = world
    examples = make_examples(_many_questions(index, questions, 30), index, ExampleConfig()).examples[:1000]
    assert len(examples) == 1000
    prompts = PromptBuilder(tiny.tokenizer, shots=False)
    encoded = encode(examples, prompts, TokenBudget(1024, 96))
    records, ours = [], []
    for row in pack(encoded, 600, 0):
        for position in range(len(row.records)):
            _, tokens, labels = sequence_of(row, position)
            cut = labels.index(next(label for label in labels if label != IGNORE_INDEX))
            records.append(
                {"prompt": tiny.tokenizer.decode(tokens[:cut]), "completion": tiny.tokenizer.decode(tokens[cut:-1])}
            )
            ours.append((tokens, labels))
    theirs_ids, theirs = _trl_labels(tiny.tokenizer, records, folder)
    same = 0
    for i, (tokens, labels) in enumerate(ours):
        if theirs_ids[i, : len(tokens)].tolist() != tokens:
            continue  # joined text may be cut into other tokens where our parts meet
        assert theirs[i, : len(tokens)].tolist() == labels
        assert set(theirs[i, len(tokens) :].tolist()) <= {IGNORE_INDEX}
        same += 1
    assert same == 1000


def test_wrong_masks_would_be_seen(tiny, encoded):
    """Labels over the whole sequence, and labels masked by pad's token id, both differ from ours."""
    pad = tiny.tokenizer.pad_token_id
    for row in pack(encoded, 500, 0):
        for _, tokens, labels in branches_of(row):
            by_id = [IGNORE_INDEX if token == pad else label for token, label in zip(tokens, labels, strict=True)]
            assert labels != tokens
            assert labels[-1] == pad == tiny.tokenizer.eos_token_id
            assert by_id != labels


def _passage(n, text):
    return Passage(id=f"d#{n}", document_id="d", text=text, start=0, end=len(text))


def test_where_the_order_is_shuffled_the_rank_decides_what_goes(tiny):
    prompts = PromptBuilder(tiny.tokenizer, shots=False)
    passages = tuple(_passage(n, f"Fact {n} is here. " * 6) for n in range(3))
    example = Example("r1", "Which fact?", passages, None, (), by_rank=(1, 2, 0))
    whole = prompts.build("Which fact?", passages, TokenBudget(4000, 60))
    encoded = encode([example], prompts, TokenBudget(len(whole) + 60 - 1, 60))
    text = tiny.tokenizer.decode(encoded.groups[0].context)
    assert "Fact 0" not in text and text.index("Fact 1") < text.index("Fact 2")


def test_the_lowest_ranked_passage_goes_first_and_never_the_gold_one(tiny):
    prompts = PromptBuilder(tiny.tokenizer, shots=False)
    passages = tuple(_passage(n, f"Fact {n} is here. " * 6) for n in range(3))
    example = Example("r1", "Which fact?", passages, "Fact 2", (3,))
    whole = prompts.build("Which fact?", passages, TokenBudget(4000, 60))
    encoded = encode([example], prompts, TokenBudget(len(whole) + 60 - 1, 60))
    assert encoded.left_out == {"r1": 1}
    text = tiny.tokenizer.decode(encoded.groups[0].context)
    assert "Fact 0" in text and "Fact 2" in text and "Fact 1" not in text
    assert tiny.tokenizer.decode(encoded.groups[0].branches[0].completion).startswith(
        '{"answer": "Fact 2", "citations": [2]}'
    )


def test_an_example_that_cannot_fit_names_its_record(tiny):
    prompts = PromptBuilder(tiny.tokenizer, shots=False)
    gold = _passage(1, "A long passage about nothing. " * 30)
    with pytest.raises(DatasetError, match="record r7"):
        encode([Example("r7", "What?", (gold,), "nothing", (1,))], prompts, TokenBudget(200, 60))
    with pytest.raises(DatasetError, match=r"record r8: its completion has"):
        encode([Example("r8", "What?", (gold,), "nothing " * 40, (1,))], prompts, TokenBudget(4000, 20))
