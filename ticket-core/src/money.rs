//! Amounts of money and currencies.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, text};

/// An amount of money in integer minor units of a currency, such as cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Amount in the minor unit of the currency, such as cents.
    pub amount: i64,
    /// ISO 4217 code of an active currency.
    #[cfg_attr(feature = "utoipa", schema(value_type = String, pattern = "^[A-Z]{3}$"))]
    pub currency: Currency,
}

impl Money {
    /// Returns an amount of `amount` minor units.
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Returns the amount in the currency's major unit, for display and metrics: 65.0 for 6500 euro
    /// cents, 6500.0 for 6500 yen.
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

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Active ISO 4217 codes of legal tender, by number of decimal places.
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

    /// Returns the alphabetic code, such as `EUR`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency's code is three ASCII letters")
    }

    /// Returns the number of decimal places of the major unit: 2 for EUR, 0 for JPY, 3 for KWD.
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
                    "{} is not allowed: expected an ISO 4217 code in capitals, such as \"EUR\"",
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
    fn the_major_unit_depends_on_the_decimal_places_of_the_currency() {
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
    fn an_unknown_code_is_rejected() {
        for text in ["eur", "EU", "EURO", "XYZ", "", "E R", "AED AFN"] {
            let error = text.parse::<Currency>().unwrap_err().to_string();
            assert!(error.contains("ISO 4217"), "{error}");
        }
    }
}
