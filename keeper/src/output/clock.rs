//! Moments and spans of time for a person.

use std::time::Duration;

/// `2026-11-21 12:30:01Z`, of milliseconds since 1970.
pub fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`): years begin in March, so that a leap day is
/// the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    // From the first of March of the year 0.
    let days = days.saturating_add(719_468);
    let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

/// Milliseconds with the unit that suits them: `812 ms`, `2.3 s`, `4 min 10 s`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

/// A time for a person.
pub fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        let ms = time.as_secs_f64() * 1000.0;
        return if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") };
    }
    if time < Duration::from_secs(60) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    let minutes = time.as_secs() / 60;
    match (minutes / (24 * 60), minutes / 60) {
        (0, 0) => format!("{minutes} min {} s", time.as_secs() % 60),
        (0, hours) => format!("{hours} h {} min", minutes % 60),
        (days, hours) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected from `date -u -d @SECONDS`.
    #[test]
    fn moments_are_what_a_calendar_says() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00Z"),
            (1_709_210_096, "2024-02-29 12:34:56Z"),
            (1_740_787_199, "2025-02-28 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1000), shown);
        }
        // A clock that is wrong is shown as it is.
        assert!(utc(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn a_span_has_the_unit_that_suits_it() {
        let shown = [(7, "7 ms"), (999, "999 ms"), (2345, "2.3 s"), (250_000, "4 min 10 s")];
        for (ms, text) in shown {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn times_are_short() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!(duration(Duration::from_micros(214)), "0.2 ms");
        assert_eq!(shown(12), "12 ms");
        assert_eq!(shown(1500), "1.5 s");
        assert_eq!(shown(90_000), "1 min 30 s");
        assert_eq!(shown(7_260_000), "2 h 1 min");
        assert_eq!(shown(180_000_000), "2 d 2 h");
    }
}
