//! The chooser of themes.

use super::*;

#[test]
fn the_screen_follows_the_arrows_and_escape_brings_the_old_theme_back() {
    let mut state = state(80, 24);
    let before = state.theme.clone();
    press(&mut state, &["f2", "down"]);
    assert_ne!(state.theme, before);
    let shown = screen(&mut state);
    for theme in Theme::all_built_in() {
        assert!(shown.contains(&theme.name().to_string()), "{}: {shown}", theme.name());
    }
    assert_eq!(press(&mut state, &["esc"]), []);
    assert_eq!((&state.theme, state.overlay.is_none()), (&before, true));
}

#[test]
fn enter_keeps_the_theme_and_writes_it_down() {
    let mut state = state(80, 24);
    assert_eq!(
        press(&mut state, &["f2", "down", "enter"]),
        [Effect::KeepTheme("light".parse().unwrap())]
    );
    assert_eq!(state.theme.name().to_string(), "light");
    assert_eq!(press(&mut state, &["f2", "enter"]), [], "nothing changed");
}

#[test]
fn every_theme_draws_on_terminals_of_every_depth() {
    for theme in Theme::all_built_in() {
        for depth in [Depth::None, Depth::Sixteen, Depth::Indexed, Depth::True] {
            let mut state = state(100, 30);
            state.theme = theme.clone();
            layout::lay_out(&mut state);
            let look = Look::new(&state.theme, depth, true);
            let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
            terminal.draw(|frame| view(&state, &look, frame)).unwrap();
            let coloured = terminal.backend().buffer().content().iter().any(|cell| {
                let is_plain = |colour| colour == ratatui::style::Color::Reset;
                !is_plain(cell.fg) || !is_plain(cell.bg)
            });
            let may = depth != Depth::None && theme.name().to_string() != "mono";
            assert_eq!(coloured, may, "{} on {depth:?}", theme.name());
        }
    }
}
