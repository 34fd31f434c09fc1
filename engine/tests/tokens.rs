#![allow(clippy::unwrap_used)]
//! The streaming tokenizer against Hugging Face's, and its bound on tokens per byte.

use _engine::tokenizer_file::TokenizerFile;
use _engine::tokens::Tokenizer;
use serde_json::json;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

fn file(normalizer: &serde_json::Value) -> Vec<u8> {
    let mut pieces: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    for c in (' '..='~').chain("éäöüßшмирç世界日本語가각漢,。！\u{1100}\u{1161}İıΣσς".chars())
    {
        pieces.push(c.to_string());
        pieces.push(format!("##{c}"));
    }
    for word in
        ["the", "quick", "quickly", "##ly", "##ick", "un", "##aff", "##able", "größe", "grosse", "naive", "##世界"]
    {
        pieces.push(word.to_owned());
    }
    // 'z' is no piece inside a word: some words have a part that matches nothing.
    pieces.retain(|piece| piece != "##z");
    let vocab: serde_json::Map<_, _> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), id.into())).collect();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false})
    };
    let specials: Vec<_> = pieces.iter().take(5).enumerate().map(|(id, piece)| special(id, piece)).collect();
    let piece = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let token = |id: &str, n: u32| json!({"id": id, "ids": [n], "tokens": [id]});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": specials, "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]")],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": token("[CLS]", 2), "[SEP]": token("[SEP]", 3)}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 20, "vocab": vocab},
    })
    .to_string()
    .into_bytes()
}

fn normalizers() -> Vec<serde_json::Value> {
    let mut all = vec![serde_json::Value::Null];
    for lowercase in [false, true] {
        for strip in [json!(null), json!(false), json!(true)] {
            for other in [false, true] {
                all.push(json!({"type": "BertNormalizer", "clean_text": other, "handle_chinese_chars": other,
                    "strip_accents": strip, "lowercase": lowercase}));
            }
        }
    }
    all
}

/// Texts that take every way: fixed ones, and random ones out of characters that mean something to the cleaning.
fn texts() -> Vec<String> {
    let alphabet: Vec<char> = "abz thequicklyéÄÖßİıΣςмИр世界語漢가각힣,.!-_#[]()。！\t\n\r\u{a0}\u{3000}\u{0}\u{fffd}\u{200b}\u{ad}\u{301}\u{308}\u{323}\u{f900}\u{1d160}\u{fdfa}\u{1f56f}\u{378}\u{e000}\u{a69e}\u{bca}"
        .chars()
        .collect();
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap_or(0)
    };
    let mut texts: Vec<String> =
        ["", " ", "[CLS] the [SEP]", "[MASK][UNK]", "##ly quickly", "unaffable", "zz", "azb", "é\u{301}\u{323}"]
            .map(str::to_owned)
            .to_vec();
    for length in [1, 2, 5, 20, 21, 100] {
        texts.push("a".repeat(length));
        texts.push("a\u{301}".repeat(length));
        texts.extend((0..300).map(|_| (0..length).map(|_| alphabet[next(alphabet.len())]).collect::<String>()));
    }
    texts
}

#[test]
fn ids_are_those_of_the_reference() {
    let texts = texts();
    for normalizer in normalizers() {
        let bytes = file(&normalizer);
        let mut reference = tokenizers::Tokenizer::from_bytes(&bytes).unwrap();
        reference.set_encode_special_tokens(true);
        let own = Tokenizer::new(TokenizerFile::parse(&bytes, 10_000).unwrap());
        for text in &texts {
            let want = reference.encode_fast(text.as_str(), true).unwrap();
            let (content, more) = own.encode(text, usize::MAX - 1);
            assert!(!more);
            assert_eq!(own.wrap(&content), want.get_ids(), "{text:?} with {normalizer}");
        }
    }
}

#[test]
fn every_character_of_unicode_is_cut_as_in_the_reference() {
    let bytes = file(&normalizers()[12]);
    let mut reference = tokenizers::Tokenizer::from_bytes(&bytes).unwrap();
    reference.set_encode_special_tokens(true);
    let own = Tokenizer::new(TokenizerFile::parse(&bytes, 10_000).unwrap());
    for c in '\0'..=char::MAX {
        // Between two pieces: whether c splits, joins, vanishes or makes the word unknown shows in the ids.
        let text = format!("a{c}b");
        let want = reference.encode_fast(text.as_str(), false).unwrap();
        assert_eq!(own.encode(&text, usize::MAX - 1).0, want.get_ids(), "U+{:04X}", u32::from(c));
    }
}

#[test]
fn no_character_cleans_to_more_characters_than_it_has_bytes() {
    for c in '\0'..=char::MAX {
        let text = c.to_string();
        let decomposed =
            text.nfd().filter(|(c, _)| !c.is_mark_nonspacing()).flat_map(|(c, _)| c.to_lowercase()).count();
        assert!(decomposed <= c.len_utf8() && c.to_lowercase().count() <= c.len_utf8(), "U+{:04X}", u32::from(c));
    }
}

#[test]
fn counting_stops_at_the_limit() {
    let own = Tokenizer::new(TokenizerFile::parse(&file(&normalizers()[12]), 10_000).unwrap());
    let all = own.encode(&"the quick, a".repeat(9), 1000).0;
    for most in 0..=all.len() {
        let (ids, more) = own.encode(&"the quick, a".repeat(9), most);
        assert_eq!((ids.as_slice(), more), (&all[..most], most < all.len()));
    }
}
