//! The rules for free text, the same for every field that has some.

use crate::Error;

/// The text without white space at its ends, where it has 1 to `most` characters and no control
/// characters (PostgreSQL cannot store NUL, and no name has a line break).
pub(crate) fn line(field: &str, text: &str, most: usize) -> Result<String, Error> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > most {
        return Err(Error::invalid(
            field,
            format!("{length} characters are not allowed: 1 to {most} are"),
        ));
    }
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(Error::invalid(
            field,
            format!("the control character {control:?} is not allowed"),
        ));
    }
    Ok(text.to_owned())
}

/// A name for URLs and labels: lower-case ASCII letters, digits and single dashes, at most 60.
pub(crate) fn slug(title: &str) -> String {
    let mut slug = String::new();
    for letter in title.chars().flat_map(char::to_lowercase) {
        let plain = match letter {
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
            // An apostrophe and a combining mark stand inside a word.
            '\'' | '’' | '\u{300}'..='\u{36f}' => "",
            _ if slug.is_empty() || slug.ends_with('-') => "",
            _ => "-",
        };
        slug.push_str(plain);
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
    fn a_slug_is_made_of_plain_letters_digits_and_single_dashes() {
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
    fn text_is_trimmed_and_has_a_length_and_no_control_characters() {
        assert_eq!(line("title", "  A  ", 3).unwrap(), "A");
        for text in ["", "   ", "abcd", "a\0b", "a\nb"] {
            assert!(line("title", text, 3).is_err(), "{text:?}");
        }
    }
}
