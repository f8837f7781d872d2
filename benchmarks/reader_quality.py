"""A reader's quality on questions of a SQuAD 2.0 file: untuned, with the packaged adapter, or with any other.

    python benchmarks/reader_quality.py PATH/TO/dev.json evals/untuned --adapter none
    python benchmarks/reader_quality.py PATH/TO/dev.json evals/tuned

Every article of the file is indexed; the questions are a random sample of the articles named (default: the last
four, which nothing is tuned or chosen on). Also counts how many completions parse and how many quotes stand at the
offsets they give. Only figures and question ids are written, none of the data's text.
"""

import argparse
import json
import math
import random
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rag_ft.answering import completion
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.errors import AnswerParseError
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import calibration_error, exact_match, token_f1
from rag_ft.metrics.kinds import CORRECT_FROM
from rag_ft.questions.records import read_questions
from rag_ft.questions.squad import parse_squad

BATCH = 16


def measure(pipeline: Pipeline, questions, index: Index) -> tuple[dict, list[dict]]:
    records = []
    begin = time.perf_counter()
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        for question, answer in zip(batch, pipeline.ask_batch([one.question for one in batch]), strict=True):
            try:
                completion.parse(answer.completion, len(answer.passages))
                parses = True
            except AnswerParseError:
                parses = False
            found = [
                index.document(one.document_id).text[one.answer_start : one.answer_end] == answer.answer
                for one in answer.citations
                if one.answer_start is not None
            ]
            gold = {(one.document_id, one.start, one.end) for one in question.evidence}
            retrieved = any(
                one.passage.document_id == document and one.passage.start <= start_ and end_ <= one.passage.end
                for one in answer.passages
                for document, start_, end_ in gold
            )
            cited_gold = any(
                one.document_id == document and one.start <= start_ and end_ <= one.end
                for one in answer.citations
                for document, start_, end_ in gold
            )
            records.append(
                {
                    "id": question.id,
                    "answerable": question.answerable,
                    "answered": answer.answer is not None,
                    "complete": answer.complete,
                    "parses": parses,
                    "quote_at_offsets": bool(found) and all(found) if answer.answer is not None else None,
                    "supported": [one.verdict for one in answer.citations] == ["supported"] * len(answer.citations),
                    "exact_match": exact_match(answer.answer, question.answers),
                    "f1": token_f1(answer.answer, question.answers),
                    "gold_retrieved": retrieved if question.answerable else None,
                    "gold_cited": cited_gold if question.answerable and answer.answer is not None else None,
                    "confidence": round(answer.confidence, 6),
                }
            )
        print(f"  {len(records)} of {len(questions)}", flush=True)
    return summary(records, (time.perf_counter() - begin) / len(questions)), records


def at_threshold(records: list[dict], threshold: float) -> list[dict]:
    """The records of a reader that always answers, had answers below the threshold become null."""
    null = {"answered": False, "quote_at_offsets": None, "gold_cited": None}
    return [
        one
        if one["confidence"] >= threshold
        else {**one, **null, "exact_match": float(not one["answerable"]), "f1": float(not one["answerable"])}
        for one in records
    ]


def recognising(records: list[dict], share: float) -> float:
    """The threshold at which so large a share of these unanswerable questions is recognised: hindsight, for a curve."""
    null = sorted(one["confidence"] for one in records if not one["answerable"])
    return null[math.ceil(share * len(null))]


def is_right(record: dict) -> bool:
    return record["answerable"] and record["f1"] >= CORRECT_FROM


def reliability(records: list[dict]) -> dict:
    """Of answers with a confidence in each tenth: how many there are, and what share is right."""
    bins: dict[int, list[bool]] = {}
    for one in records:
        bins.setdefault(min(9, int(10 * one["confidence"])), []).append(is_right(one))
    return {f"{ten / 10} to {(ten + 1) / 10}": [len(bins[ten]), mean(bins[ten])] for ten in sorted(bins)}


def mean(values) -> float | None:
    values = [float(one) for one in values if one is not None]
    return round(sum(values) / len(values), 4) if values else None


def summary(records: list[dict], seconds: float) -> dict:
    yes = [one for one in records if one["answerable"]]
    no = [one for one in records if not one["answerable"]]
    given = [one for one in records if one["answered"]]
    error = calibration_error([one["confidence"] for one in given], [is_right(one) for one in given]) if given else None
    return {
        "questions": len(records),
        "answerable": len(yes),
        "exact_match_answerable": mean(one["exact_match"] for one in yes),
        "f1_answerable": mean(one["f1"] for one in yes),
        "f1_answerable_if_retrieved": mean(one["f1"] for one in yes if one["gold_retrieved"]),
        "answerable_answered": mean(one["answered"] for one in yes),
        "gold_cited_of_answered": mean(one["gold_cited"] for one in yes),
        "unanswerable_recognised": mean(not one["answered"] for one in no),
        "exact_match_all": mean(one["exact_match"] for one in records),
        "f1_all": mean(one["f1"] for one in records),
        "completions_that_parse": mean(one["parses"] for one in records),
        "quotes_at_their_offsets": mean(one["quote_at_offsets"] for one in records),
        "calibration_error_of_answered": error if error is None else round(error, 4),
        "seconds_per_question": round(seconds, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--first", action="store_true", help="sample the first articles, not the last four")
    parser.add_argument("--runs", nargs="+", default=["quote/separate/0", "quote/joint/0", "schema/joint/0"])
    parser.add_argument("--adapter", help="a folder, or none; left out: the packaged one")
    parser.add_argument("--cross-encoder", help="a folder, packaged or none; left out: as `rag-ft ask` has it")
    parser.add_argument("--words", action="store_true", help="no whole sentences, whatever a question asks for")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = [name for name, _ in parse_squad(given.squad.read_text(encoding="utf-8"))]
    wanted = set(names[:-4] if given.first else names[-4:])
    titles = {one.id: one.evidence[0].document_id for one in read_questions(given.squad) if one.evidence}
    questions = [one for one in read_questions(given.squad) if titles.get(one.id) in wanted]
    random.Random(given.seed).shuffle(questions)
    questions = questions[: given.questions]
    given.output.mkdir(parents=True, exist_ok=True)
    results, loaded, cross_encoder = {}, None, None
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(given.squad, Path(folder) / "index", progress=False)
        for run in given.runs:
            mode, reading, *rest = run.split("/")
            settings = {"mode": mode, "reading": reading, "threshold": float(rest[0]) if rest else None}
            if given.words:
                settings["whole_sentences"] = False
            if loaded is None:
                reader = Reader.from_pretrained(adapter=given.adapter, cross_encoder=given.cross_encoder, **settings)
                loaded, cross_encoder = reader.loaded, reader.cross_encoder
            else:
                reader = Reader(loaded, cross_encoder=cross_encoder, **settings)
            print(run, flush=True)
            results[run], records = measure(Pipeline(index.as_retriever(k=3), reader), questions, index)
            print(json.dumps(results[run]), flush=True)
            trained = reader.trained_threshold
            if trained is not None and reader.threshold == 0:
                results[f"{run}, read again at the adapter's threshold {trained:.2f}"] = summary(
                    at_threshold(records, trained), results[run]["seconds_per_question"]
                )
            if reader.threshold == 0:
                # Readers are compared at equal shares, since each has a threshold, or none, of its own.
                results[f"{run}, F1 of the answerable where a share of the unanswerable is recognised"] = {
                    f"{share:.0%}": summary(at_threshold(records, recognising(records, share)), 0.0)["f1_answerable"]
                    for share in (0.5, 0.65, 0.8, 0.9)
                }
                results[f"{run}, questions and share of right answers by confidence"] = reliability(records)
            name = run.replace("/", "-")
            lines = "".join(json.dumps(one) + "\n" for one in records)
            (given.output / f"records-{name}.jsonl").write_text(lines, encoding="utf-8")
            # Written after every run, so that a long measurement that is cut off keeps what it has.
            write(given.output, results, index, reader, wanted, given.seed)


def write(output: Path, results: dict, index: Index, reader: Reader, articles: set[str], seed: int) -> None:
    about = {
        "articles": sorted(articles),
        "seed": seed,
        "passages": len(index),
        "k": 3,
        "retrieval": index.as_retriever().mode,
        "index": index.fingerprint,
        "prompt": reader.prompts.fingerprint,
        "base_model": reader.loaded.weights.fingerprint,
        "adapter": reader.loaded.adapter.fingerprint if reader.loaded.adapter else None,
        "plan": reader.loaded.plan.line,
        "versions": {name: version(name) for name in ("torch", "transformers", "faiss-cpu", "bm25s")},
    }
    text = json.dumps({"about": about, "runs": results}, indent=1) + "\n"
    (output / "results.json").write_text(text, encoding="utf-8")
    lines = ["# A tuned reader" if reader.loaded.adapter else "# The reader before tuning", ""]
    for run, values in results.items():
        lines += [f"## {run}", "", "| figure | value |", "|---|---|"]
        lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in values.items()] + [""]
    (output / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
