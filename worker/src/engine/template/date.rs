//! `strftime_now` for templates that tell the model the date, in UTC.

use std::fmt::Write as _;
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

/// Days of the months before `month`, in a year without a leap day.
fn days_before(month: u64) -> u64 {
    [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334]
        .get(usize::try_from(month.saturating_sub(1)).unwrap_or_default())
        .copied()
        .unwrap_or_default()
}

impl Civil {
    /// The day of the year, from 1.
    fn day_of_year(&self) -> u64 {
        let is_leap = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        days_before(self.month) + self.day + u64::from(is_leap && self.month > 2)
    }

    /// The hour of a clock of twelve hours.
    fn hour_of_twelve(&self) -> u64 {
        (self.seconds / 3600 + 11) % 12 + 1
    }

    /// What a letter stands for; a number comes with its width.
    fn part(&self, letter: char) -> Option<Part> {
        let (month, day) = (name(&MONTHS, self.month - 1), name(&DAYS, self.weekday));
        let short = |name: &str| Part::Text(name.chars().take(3).collect());
        let (hour, minute, second) =
            (self.seconds / 3600, self.seconds / 60 % 60, self.seconds % 60);
        Some(match letter {
            'Y' => Part::Number(self.year, 4),
            'y' => Part::Number(self.year % 100, 2),
            'm' => Part::Number(self.month, 2),
            'd' => Part::Number(self.day, 2),
            'e' => Part::Text(format!("{:2}", self.day)),
            'j' => Part::Number(self.day_of_year(), 3),
            'B' => Part::Text(month.to_owned()),
            'b' | 'h' => short(month),
            'A' => Part::Text(day.to_owned()),
            'a' => short(day),
            'H' => Part::Number(hour, 2),
            'I' => Part::Number(self.hour_of_twelve(), 2),
            'p' => Part::Text(if hour < 12 { "AM" } else { "PM" }.to_owned()),
            'M' => Part::Number(minute, 2),
            'S' => Part::Number(second, 2),
            'u' => Part::Number(self.weekday + 1, 1),
            'w' => Part::Number((self.weekday + 1) % 7, 1),
            'F' => Part::Text(format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)),
            'D' => {
                let year = self.year % 100;
                Part::Text(format!("{:02}/{:02}/{year:02}", self.month, self.day))
            }
            'T' => Part::Text(format!("{hour:02}:{minute:02}:{second:02}")),
            'R' => Part::Text(format!("{hour:02}:{minute:02}")),
            // Python's time without a zone has neither its name nor its distance.
            'z' | 'Z' => Part::Text(String::new()),
            '%' => Part::Text("%".to_owned()),
            _ => return None,
        })
    }
}

/// What a letter of a format stands for.
enum Part {
    Text(String),
    /// And the digits that it is written with at least.
    Number(u64, usize),
}

/// `now` in a format of C's `strftime`, with glibc's `%-d` for a number without zeros before it, as
/// far as templates use it.
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
        let next = letters.next();
        let (is_bare, letter) =
            if next == Some('-') { (true, letters.next()) } else { (false, next) };
        match letter.and_then(|letter| at.part(letter)) {
            Some(Part::Text(text)) if is_bare => out.push_str(text.trim_start()),
            Some(Part::Text(text)) => out.push_str(&text),
            Some(Part::Number(number, width)) => {
                let width = if is_bare { 1 } else { width };
                // Writing to a text cannot fail.
                let _ = write!(out, "{number:0width$}");
            }
            None => {
                let letter = letter.map(String::from).unwrap_or_default();
                return Err(format!("strftime_now does not know %{letter}"));
            }
        }
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
        assert_eq!(
            format(UNIX_EPOCH, "%-d.%-m. %j %I %p %u %w %F %T|%Z").unwrap(),
            "1.1. 001 12 AM 4 4 1970-01-01 00:00:00|"
        );
        assert!(format(UNIX_EPOCH, "%Q").unwrap_err().contains("%Q"));
        assert!(format(UNIX_EPOCH, "%").is_err());
    }
}
