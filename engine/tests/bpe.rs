#![allow(clippy::unwrap_used)]
//! Byte-level BPE in windows against Hugging Face's tokenizers, and its bounds on time and memory.

use _engine::bpe::{BpeTokenizer, WINDOW};
use _engine::bpe_file::BpeFile;
use serde_json::{Value, json};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const VOCAB: usize = 400;

/// GPT-2's letters of all bytes, in the order of the bytes.
fn letters() -> Vec<String> {
    let plain = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let letter = |b: u32| {
        let code = if plain(b) { b } else { next };
        next += u32::from(!plain(b));
        char::from_u32(code).unwrap().to_string()
    };
    (0..256).map(letter).collect()
}

fn file(normalizer: &Value, pre_tokenizer: &Value) -> Vec<u8> {
    let mut pieces = vec!["<s>".to_owned(), "</s>".to_owned(), "<tool>".to_owned()];
    pieces.extend(letters());
    let merges = [
        ("t", "h"),
        ("th", "e"),
        ("Ġ", "the"),
        ("i", "n"),
        ("a", "a"),
        ("aa", "aa"),
        ("aaaa", "aaaa"),
        ("Ġ", "Ġ"),
        ("ĠĠ", "ĠĠ"),
        ("1", "2"),
        ("Ã", "©"),
        ("o", "w"),
        ("l", "ow"),
        ("e", "r"),
        ("low", "er"),
        ("'", "s"),
    ];
    pieces.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let vocab: serde_json::Map<_, _> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), id.into())).collect();
    let added = |id: usize, special: bool| {
        json!({"id": id, "content": pieces[id], "special": special, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added(0, true), added(1, true), added(2, false)],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges.map(|(a, b)| vec![a, b])},
    })
    .to_string()
    .into_bytes()
}

fn byte_level(prefix: bool, regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex})
}

fn split(pattern: &str) -> Value {
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    json!({"type": "Sequence", "pretokenizers": [split, byte_level(false, false)]})
}

fn files() -> Vec<Vec<u8>> {
    let digits = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": true}, byte_level(false, true)]});
    let runs = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": false}, byte_level(false, true)]});
    vec![
        file(&Value::Null, &byte_level(false, true)),
        file(&Value::Null, &byte_level(true, true)),
        file(&Value::Null, &split(LLAMA3)),
        file(&json!({"type": "NFC"}), &split(QWEN2)),
        file(&Value::Null, &digits),
        file(&Value::Null, &runs),
    ]
}

fn own(bytes: &[u8]) -> BpeTokenizer {
    BpeTokenizer::new(BpeFile::parse(bytes, VOCAB).unwrap(), VOCAB).unwrap()
}

/// The reference, told to take the spelling of special tokens for text; one that is not special it finds all the same.
fn reference(bytes: &[u8]) -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).unwrap();
    tokenizer.set_encode_special_tokens(true);
    tokenizer
}

fn encode(tokenizer: &BpeTokenizer, text: &str, most: usize) -> (Vec<u32>, bool) {
    let mut ids = Vec::new();
    let more = tokenizer.encode(text, most, &mut ids).unwrap();
    (ids, more)
}

/// Numbers that look random, the same at every run.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap()
}

fn texts() -> Vec<String> {
    let parts = [
        "the",
        " the",
        "lower",
        " ",
        "  ",
        "    ",
        "\n",
        "\r\n",
        "\t",
        "é",
        "e\u{301}",
        "世界",
        "12",
        "1234",
        "'s",
        "'S",
        "!?",
        "aaaaaaaaa",
        "😀",
        "\u{958}",
        "\u{1d160}",
        "<s>",
        "</s>",
        "\u{a0}",
        "x",
        "가",
        "\u{1100}\u{1161}",
        "-",
        "½",
        "\0",
    ];
    let mut state = 7;
    let mut texts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    for _ in 0..2000 {
        let count = 1 + random(&mut state) % 12;
        texts.push((0..count).map(|_| parts[random(&mut state) % parts.len()]).collect());
    }
    texts
}

#[test]
fn ids_are_those_of_the_reference() {
    for bytes in files() {
        let (own, reference) = (own(&bytes), reference(&bytes));
        for text in texts() {
            let want = reference.encode(text.as_str(), false).unwrap();
            assert_eq!(encode(&own, &text, usize::MAX - 1).0, want.get_ids(), "{text:?}");
        }
    }
}

#[test]
fn long_texts_have_the_ids_of_the_reference_when_they_have_spaces() {
    for bytes in files() {
        let (own, reference) = (own(&bytes), reference(&bytes));
        let text = "the lower 1234 éé'sé  \n\n!? aaaaaaaaaaa 世界 ".repeat(5 * WINDOW / 40);
        let want = reference.encode(text.as_str(), false).unwrap();
        assert_eq!(encode(&own, &text, usize::MAX - 1).0, want.get_ids());
    }
}

#[test]
fn spelling_of_an_added_token_in_a_text_is_plain_text() {
    for bytes in files() {
        let (ids, _) = encode(&own(&bytes), "a<s>b</s><tool>", usize::MAX - 1);
        assert!(ids.iter().all(|id| *id > 2), "{ids:?}");
    }
}

#[test]
fn bytes_of_ids_are_the_text_again() {
    let own = own(&files()[0]);
    for text in texts() {
        let bytes: Vec<u8> =
            encode(&own, &text, usize::MAX - 1).0.iter().flat_map(|id| own.bytes(*id).to_vec()).collect();
        assert_eq!(bytes, text.as_bytes());
    }
    assert!(own.bytes(0).is_empty() && own.bytes(9999).is_empty());
    assert_eq!(own.bytes(2), b"<tool>");
}

#[test]
fn work_stops_at_the_first_token_too_many() {
    let own = own(&files()[0]);
    let (ids, more) = encode(&own, &"a b ".repeat(1 << 20), 10);
    assert!(more && ids.len() == 11);
}

#[test]
fn no_character_is_more_tokens_than_promised() {
    let own = own(&files()[3]);
    for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
        let text = c.to_string();
        let tokens = encode(&own, &text, usize::MAX - 1).0.len();
        #[allow(clippy::cast_precision_loss)]
        let bound = text.len() as f32 * own.token_expansion();
        #[allow(clippy::cast_precision_loss)]
        let tokens = tokens as f32;
        assert!(tokens <= bound, "{c:?}: {tokens} tokens of {bound}");
    }
}

#[test]
fn file_of_another_kind_is_refused_by_field() {
    let bent = |bend: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&files()[0]).unwrap();
        bend(&mut value);
        match BpeFile::parse(value.to_string().as_bytes(), VOCAB) {
            Ok(file) => file.warnings.join(" "),
            Err(error) => error.to_string(),
        }
    };
    for (pointer, value, field) in [
        ("/model/type", json!("WordPiece"), "model.type"),
        ("/model/byte_fallback", json!(true), "model.byte_fallback"),
        ("/model/end_of_word_suffix", json!("</w>"), "model.end_of_word_suffix"),
        ("/decoder", json!({"type": "Metaspace"}), "decoder.type"),
        ("/normalizer", json!({"type": "NFKC"}), "normalizer.type"),
        ("/pre_tokenizer", json!({"type": "Metaspace"}), "pre_tokenizer"),
        ("/pre_tokenizer", split("(unsound"), "pre_tokenizer.pattern"),
        ("/post_processor", json!({"type": "RobertaProcessing"}), "post_processor.type"),
        ("/added_tokens/0/id", json!(5000), "token id 5000"),
        ("/padding", json!({"strategy": "BatchLongest"}), "padding is set"),
        ("/truncation", json!({"max_length": 5}), "truncation is set"),
        ("/pre_tokenizer", split(r"(\w+\s?)+"), "split pattern"),
        ("/added_tokens/0/lstrip", json!(true), "lstrip"),
    ] {
        let said = bent(&|file| *file.pointer_mut(pointer).unwrap() = value.clone());
        assert!(said.contains(field), "{pointer}: {said:?}");
    }
    assert_eq!(bent(&|_| ()), "");
}

/// Seconds of this thread's processor time.
fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    std::time::Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap()).as_secs_f64()
}

/// Texts without a space, of spaces only, of what makes patterns try again, and of one merge after another.
#[test]
fn hostile_text_costs_time_in_proportion_to_its_length() {
    for bytes in [&files()[0], &files()[3]] {
        let own = own(bytes);
        for unit in ["a", " ", "\n", "'", "世", "e\u{301}", "1", "\u{1d160}", " \t", "ab1! ", "\u{301}", "\r\n "] {
            let [small, large] = [1 << 16, 1 << 19].map(|size| {
                let text = unit.repeat(size / unit.len());
                let started = cpu_s();
                encode(&own, &text, usize::MAX - 1);
                cpu_s() - started
            });
            // Eight times the bytes; a quadratic tokenizer would take sixty-four times the time.
            assert!(large < 24.0 * small + 0.02, "{unit:?}: {small} s, then {large} s");
        }
    }
}
