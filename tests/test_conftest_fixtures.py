def test_tiny_llama_loads_and_its_tokenizer_keeps_bytes(tiny_llama_dir):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_dir)
    text = "naïve 日本語 🙂 it's  two"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
