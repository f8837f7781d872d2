from tiny_reader import tiny_reader

from rag_ft.answering.decoding.grammar import GrammarCompiler, answer_grammar


def test_the_schema_grammar_admits_what_parses_and_nothing_else(loaded):
    prompts = tiny_reader(loaded).prompts
    compiler = GrammarCompiler(loaded.tokenizer, loaded.model.config.vocab_size, prompts.end_of_turn_id)

    def admits(text: str) -> bool:
        matcher = compiler.matcher(answer_grammar(2, 30))
        ids = list(loaded.tokenizer.encode(text, add_special_tokens=False))
        while ids:
            token = ids.pop(0)
            if not bool(matcher.allowed()[token]):
                return False
            for forced in matcher.take(token):
                if not ids or ids.pop(0) != forced:
                    return False
        return matcher.done

    assert admits('x y", "citations": [1]}')
    assert admits('日 \\" b", "citations": [1, 2]}')
    assert not admits('x", "citations": [3]}')
    assert not admits('x", "citations": []}')
    assert not admits(' ", "citations": [1]}')
