use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, text};

/// An amount of money: an integer count of the currency's minor unit (cents, say).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// How many minor units.
    pub amount: i64,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// `amount` minor units of `currency`.
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// The amount in the currency's main unit, for display and for metrics: 6500 EUR cents are
    /// 65.0, 6500 JPY are 6500.0.
    pub fn to_major(self) -> f64 {
        self.amount as f64 / 10_f64.powi(self.currency.exponent().into())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::from(self.currency.exponent());
        write!(f, "{:.places$} {}", self.to_major(), self.currency)
    }
}

/// A currency of ISO 4217, by its alphabetic code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// The active codes of ISO 4217 that are money in hand, by the number of decimal places.
const CODES: [(u8, &str); 4] = [
    (
        0,
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    ),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
         CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD \
         GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL \
         MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN \
         PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP \
         SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

impl Currency {
    /// The euro.
    pub const EUR: Self = Self(*b"EUR");
    /// The US dollar.
    pub const USD: Self = Self(*b"USD");

    /// The alphabetic code, as in `EUR`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency's code is three ASCII letters")
    }

    /// How many decimal places the main unit has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn exponent(self) -> u8 {
        let code = self.as_str();
        CODES
            .iter()
            .find(|(_, codes)| codes.contains(code))
            .map_or(2, |(exponent, _)| *exponent)
    }
}

impl FromStr for Currency {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = CODES
            .iter()
            .flat_map(|(_, codes)| codes.split_ascii_whitespace())
            .any(|code| code == text);
        match text.as_bytes().try_into() {
            Ok(code) if known => Ok(Self(code)),
            _ => Err(Error::invalid(
                "currency",
                format!(
                    "{} is not allowed: an ISO 4217 code in capitals is, such as \"EUR\"",
                    text::quote(text)
                ),
            )),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| match error {
            Error::Invalid { problem, .. } => de::Error::custom(problem),
            other => de::Error::custom(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_unit_follows_the_currencys_decimal_places() {
        for (code, major, shown) in [
            ("EUR", 65.0, "65.00 EUR"),
            ("JPY", 6500.0, "6500 JPY"),
            ("KWD", 6.5, "6.500 KWD"),
            ("CLF", 0.65, "0.6500 CLF"),
        ] {
            let money = Money::new(6500, code.parse().unwrap());
            assert_eq!(money.to_major(), major, "{code}");
            assert_eq!(money.to_string(), shown);
        }
    }

    #[test]
    fn a_code_that_is_none_is_refused_and_says_what_is_allowed() {
        for text in ["eur", "EU", "EURO", "XYZ", "", "E R", "AED AFN"] {
            let error = text.parse::<Currency>().unwrap_err().to_string();
            assert!(error.contains("ISO 4217"), "{error}");
        }
    }
}
