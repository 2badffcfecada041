//! The byte-level alphabet of GPT-2: every byte is one printable character.

/// The character that stands for `byte`: itself when it is printable in Latin-1, else one of the
/// 68 characters from U+0100 on, in the order of the bytes.
pub(super) fn char_of(byte: u8) -> char {
    let shift = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => return char::from(byte),
        0..=0x20 => u32::from(byte),
        0x7f..=0xa0 => u32::from(byte) - 0x7f + 33,
        0xad => 67,
    };
    char::from_u32(0x100 + shift).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that `c` stands for, if it stands for one.
pub(super) fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => code,
    };
    u8::try_from(byte).ok().filter(|byte| char_of(*byte) == c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_printable_character() {
        let alphabet: std::collections::HashSet<char> = (0..=255).map(char_of).collect();
        assert_eq!(alphabet.len(), 256);
        for byte in 0..=255u8 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
            assert!(!char_of(byte).is_control() && !char_of(byte).is_whitespace());
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(b'a')), ('Ġ', 'Ċ', 'a'));
    }

    #[test]
    fn characters_of_no_byte_are_known_as_such() {
        for c in ['\u{144}', ' ', '\n', '日', '\u{7f}', '\u{ad}', '\u{1f41d}'] {
            assert_eq!(byte_of(c), None, "{c:?}");
        }
    }

    /// The library's alphabet is an independent source of the same table.
    #[test]
    fn the_alphabet_is_that_of_the_tokenizers_crate() {
        let theirs: Vec<char> =
            tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
        assert_eq!(theirs.len(), 256);
        assert!(theirs.iter().all(|c| byte_of(*c).is_some()));
    }
}
