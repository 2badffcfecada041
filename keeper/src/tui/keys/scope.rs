//! Where a key counts.

/// Where a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everywhere.
    Everywhere,
    /// While a message is written.
    Writing,
    /// In every panel, while nothing is written.
    Panels,
    /// Among the hives.
    Hives,
    /// Among the workers.
    Workers,
    /// In the conversation.
    Chat,
    /// In one of several conversations that are compared.
    Lanes,
}

/// Scopes in which a key is looked up one after the other, nearest first.
const LOOKED_UP: [&[Scope]; 4] = [
    &[Scope::Writing, Scope::Everywhere],
    &[Scope::Lanes, Scope::Chat, Scope::Panels, Scope::Everywhere],
    &[Scope::Hives, Scope::Panels, Scope::Everywhere],
    &[Scope::Workers, Scope::Panels, Scope::Everywhere],
];

impl Scope {
    /// Its heading in the help.
    pub fn title(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Writing => "Writing a message",
            Self::Panels => "In a panel",
            Self::Hives => "Hives",
            Self::Workers => "Workers",
            Self::Chat => "Conversation",
            Self::Lanes => "Comparing",
        }
    }

    /// Its word in the file of keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Writing => "writing",
            Self::Panels => "panels",
            Self::Hives => "hives",
            Self::Workers => "workers",
            Self::Chat => "chat",
            Self::Lanes => "comparing",
        }
    }

    /// Whether a key may be looked up in both, one after the other.
    pub fn meets(self, other: Self) -> bool {
        LOOKED_UP.iter().any(|scopes| scopes.contains(&self) && scopes.contains(&other))
    }

    /// All of them, in the order of the help.
    pub const ALL: [Self; 7] = [
        Self::Everywhere,
        Self::Writing,
        Self::Chat,
        Self::Lanes,
        Self::Panels,
        Self::Hives,
        Self::Workers,
    ];
}
