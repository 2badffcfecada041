//! `strftime_now` for templates that tell the model the date, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A moment by the calendar.
struct Civil {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
    /// From 0, a Monday.
    weekday: u64,
    seconds: u64,
}

/// Days since the epoch to the Gregorian calendar, counted from 1 March of year 0 so that the leap
/// day is the last of its year.
fn civil(now: SystemTime) -> Civil {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400;
    let from_march = days + 719_468;
    let (era, of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march_month + 2) / 5 + 1;
    let month = if from_march_month < 10 { from_march_month + 3 } else { from_march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    Civil { year, month, day, weekday: (days + 3) % 7, seconds: seconds % 86_400 }
}

fn name(names: &[&'static str], index: u64) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

/// `now` in a format of C's `strftime`, as far as templates use it.
///
/// # Errors
/// Names the first letter that is not known.
pub(super) fn format(now: SystemTime, format: &str) -> Result<String, String> {
    let at = civil(now);
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (month, day) = (name(&MONTHS, at.month - 1), name(&DAYS, at.weekday));
        let part = match letters.next() {
            Some('Y') => at.year.to_string(),
            Some('y') => format!("{:02}", at.year % 100),
            Some('m') => format!("{:02}", at.month),
            Some('d') => format!("{:02}", at.day),
            Some('e') => format!("{:2}", at.day),
            Some('B') => month.to_owned(),
            Some('b') => month.chars().take(3).collect(),
            Some('A') => day.to_owned(),
            Some('a') => day.chars().take(3).collect(),
            Some('H') => format!("{:02}", at.seconds / 3600),
            Some('M') => format!("{:02}", at.seconds / 60 % 60),
            Some('S') => format!("{:02}", at.seconds % 60),
            Some('%') => "%".to_owned(),
            other => {
                let letter = other.map(String::from).unwrap_or_default();
                return Err(format!("strftime_now does not know %{letter}"));
            }
        };
        out.push_str(&part);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Expected from `date -u -d @N`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| {
            format(UNIX_EPOCH + Duration::from_secs(seconds), "%a %d %b %Y %H:%M:%S").unwrap()
        };
        assert_eq!(at(0), "Thu 01 Jan 1970 00:00:00");
        assert_eq!(at(951_782_399), "Mon 28 Feb 2000 23:59:59");
        assert_eq!(at(951_782_400), "Tue 29 Feb 2000 00:00:00");
        assert_eq!(at(1_709_210_096), "Thu 29 Feb 2024 12:34:56");
        assert_eq!(at(4_102_444_800), "Fri 01 Jan 2100 00:00:00");
        assert_eq!(at(4_107_542_400), "Mon 01 Mar 2100 00:00:00");
    }

    #[test]
    fn an_unknown_letter_is_named() {
        assert_eq!(format(UNIX_EPOCH, "%d %B %y 100%%").unwrap(), "01 January 70 100%");
        assert!(format(UNIX_EPOCH, "%Q").unwrap_err().contains("%Q"));
        assert!(format(UNIX_EPOCH, "%").is_err());
    }
}
