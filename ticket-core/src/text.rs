//! Validation and normalization of names, and the slugs that are derived from them.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::Error;

/// Characters of a rejected value that an error message repeats.
const MAX_QUOTED: usize = 64;

/// Validates and normalizes a name.
///
/// The result is in Unicode normalization form C, without leading and trailing white space and with
/// every inner run of white space replaced by one space, so that two spellings that look the same
/// are one name.
///
/// # Errors
/// [`Error::Invalid`] unless the result has 1 to `max` characters and none that is invisible:
/// control and format characters, line and paragraph separators, fillers and variation selectors.
/// They would let one buyer pose as many.
pub(crate) fn name(field: &str, text: &str, max: usize) -> Result<String, Error> {
    let text: String = text.trim().nfc().collect();
    if let Some(invisible) = text.chars().find(|c| is_invisible(*c)) {
        return Err(Error::invalid(
            field,
            format!(
                "the character U+{:04X} is not allowed: control characters, format characters and \
                 other invisible characters are refused",
                u32::from(invisible)
            ),
        ));
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = text.chars().count();
    if length == 0 || length > max {
        return Err(Error::invalid(
            field,
            format!("{length} characters are not allowed: expected 1 to {max}"),
        ));
    }
    Ok(text)
}

fn is_invisible(c: char) -> bool {
    matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    ) || matches!(
        c,
        // The rest of Default_Ignorable_Code_Point: letters and marks without a glyph.
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2065}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{e0000}'..='\u{e0fff}'
            // BRAILLE PATTERN BLANK, KHITAN SMALL SCRIPT FILLER, MUSICAL SYMBOL NULL NOTEHEAD
            | '\u{2800}'
            | '\u{16fe4}'
            | '\u{1d159}'
            // Noncharacters, for which fonts have no glyph.
            | '\u{fdd0}'..='\u{fdef}'
    ) || u32::from(c) & 0xfffe == 0xfffe
}

/// Quotes a rejected value for an error message, shortened to [`MAX_QUOTED`] characters.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Derives a slug, the name of a concert in URLs and labels: lower-case ASCII letters, digits and
/// single dashes, at most 60 bytes.
pub(crate) fn slug(title: &str) -> String {
    let mut slug = String::new();
    for letter in title.chars().flat_map(char::to_lowercase) {
        let ascii = match letter {
            'a'..='z' | '0'..='9' => {
                slug.push(letter);
                continue;
            }
            'à' | 'á' | 'â' | 'ã' | 'å' | 'ā' | 'ă' | 'ą' => "a",
            'ä' | 'æ' => "ae",
            'ç' | 'ć' | 'č' => "c",
            'ď' | 'đ' | 'ð' => "d",
            'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => "e",
            'ğ' => "g",
            'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
            'ł' | 'ľ' => "l",
            'ñ' | 'ń' | 'ň' => "n",
            'ò' | 'ó' | 'ô' | 'õ' | 'ő' | 'ō' => "o",
            'ö' | 'ø' | 'œ' => "oe",
            'ř' => "r",
            'ś' | 'š' | 'ş' | 'ș' => "s",
            'ß' => "ss",
            'ť' | 'ţ' | 'ț' => "t",
            'ù' | 'ú' | 'û' | 'ū' | 'ů' | 'ű' => "u",
            'ü' => "ue",
            'ý' | 'ÿ' => "y",
            'ź' | 'ż' | 'ž' => "z",
            // Apostrophes and combining marks do not separate words.
            '\'' | '’' | '\u{300}'..='\u{36f}' => "",
            _ if slug.is_empty() || slug.ends_with('-') => "",
            _ => "-",
        };
        slug.push_str(ascii);
    }
    slug.truncate(60);
    match slug.trim_end_matches('-') {
        "" => "concert".to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_ascii_letters_digits_and_single_dashes() {
        for (title, expected) in [
            ("Radiohead — Berlin", "radiohead-berlin"),
            ("Björk & Sigur Rós (2030)", "bjoerk-sigur-ros-2030"),
            ("Guns N' Roses", "guns-n-roses"),
            ("東京", "concert"),
            ("--!--", "concert"),
            (&"x".repeat(80), &"x".repeat(60)),
        ] {
            assert_eq!(slug(title), expected, "{title}");
        }
    }

    #[test]
    fn names_that_look_the_same_are_the_same() {
        for (text, expected) in [
            ("  Ann  ", "Ann"),
            ("Ann \u{a0}\u{2003} Lee", "Ann Lee"),
            ("Zoe\u{308}", "Zo\u{eb}"),
            ("\u{212b}sa", "\u{c5}sa"),
            ("Ann\n", "Ann"),
        ] {
            assert_eq!(name("buyer", text, 10).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn invisible_characters_are_rejected() {
        for c in [
            '\0',
            '\n',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2060}',
            '\u{2065}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{fdd0}',
            '\u{feff}',
            '\u{fff9}',
            '\u{ffff}',
            '\u{1fffe}',
            '\u{16fe4}',
            '\u{1d159}',
            '\u{e0041}',
            '\u{e0100}',
        ] {
            let text = format!("A{c}nn");
            let error = name("buyer", &text, 10).unwrap_err().to_string();
            let code = format!("U+{:04X}", u32::from(c));
            assert!(error.contains(&code), "{error}");
            let only = name("title", &c.to_string(), 10);
            assert!(only.is_err(), "{c:?}");
        }
    }

    #[test]
    fn a_name_has_a_minimum_and_a_maximum_length() {
        for text in ["", "   ", "abcd"] {
            assert!(name("title", text, 3).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_quoted_value_is_shortened() {
        assert_eq!(quote("a\"b"), r#""a\"b""#);
        assert!(quote(&"é".repeat(10_000)).chars().count() < 70);
    }
}
