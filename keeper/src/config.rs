//! The configuration file: found, checked whole before anything else happens, and shown.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};
use wire::sampling::{Sampling, SamplingFields};
use wire::settings::{AgentSettings, Lifetime};
use wire::text::shell_word;
use wire::{Code, Fault, HiveName, Timings, limits};

use crate::environment::Environment;
use crate::model::{Alias, Aliases, ModelName, path_word};
use crate::output::theme::{self, Theme, ThemeName};
use crate::ssh::address::Address;

/// The directory of the person's own themes, beside the configuration file.
const THEMES: &str = "themes";

/// Everything that `config.toml` may say. What it does not say has its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The model of a `run` without `-m`: an alias or a reference.
    pub default_model: Option<ModelName>,
    /// Colours: one of the built-in themes, or the name of a file of the directory `themes`.
    pub theme: ThemeName,
    /// Short names for models.
    pub aliases: BTreeMap<Alias, wire::ModelRef>,
    /// What `run` and `chat` use where the command line says nothing.
    pub run: RunSettings,
    /// The machines that take part, besides this one.
    pub hives: BTreeMap<HiveName, HiveSettings>,
    /// How hives are reached.
    pub ssh: SshSettings,
    /// The part that this machine takes.
    pub local: LocalSettings,
    /// Where models come from.
    pub hub: HubSettings,
    /// How the TUI is used.
    pub tui: TuiSettings,
    /// What the agent reads: limits of this hive.
    pub agent: AgentSettings,
    /// How long everything may take.
    pub timings: Timings,
}

/// `[hives.NAME]`: one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HiveSettings {
    /// `[user@]host[:port]`; the host may be a name of the ssh configuration.
    pub address: Address,
    /// Private key file, beside those of the ssh configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// Machines to go through, in this order; instead of what the ssh configuration says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jump: Vec<Address>,
    /// Whether an agent that this keeper starts there stays when the last keeper has gone.
    #[serde(default, skip_serializing_if = "is_persistent")]
    pub lifetime: Lifetime,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_persistent(lifetime: &Lifetime) -> bool {
    *lifetime == Lifetime::Persistent
}

impl HiveSettings {
    /// Whether both lead to one account of one machine: behind other machines, the same address is
    /// another one.
    pub fn leads_where(&self, other: &Self) -> bool {
        self.address == other.address && self.jump == other.jump
    }

    /// The line that runs `command` there.
    pub fn by_ssh(&self, command: &str) -> String {
        let mut line = "ssh ".to_owned();
        if let Some(identity) = &self.identity {
            line = format!("{line}-i {} ", path_word(identity));
        }
        if !self.jump.is_empty() {
            let jumps: Vec<String> = self.jump.iter().map(ToString::to_string).collect();
            line = format!("{line}-J {} ", shell_word(&jumps.join(",")));
        }
        if let Some(port) = self.address.port() {
            line = format!("{line}-p {port} ");
        }
        let user = self.address.user().map(|user| format!("{user}@")).unwrap_or_default();
        let place = shell_word(&format!("{user}{}", self.address.host()));
        format!("{line}{place} {}", shell_word(command))
    }
}

/// `[ssh]`: how hives are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SshSettings {
    /// Which client makes the connections.
    pub client: SshClient,
}

/// Which SSH client makes the connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshClient {
    /// The one that is part of this program.
    #[default]
    Builtin,
    /// The person's own `ssh`, for what the builtin one cannot do.
    System,
}

/// `[tui]`: how the TUI is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuiSettings {
    /// Whether it takes the mouse from the terminal, which selects text with it else.
    pub mouse: bool,
}

/// `[local]`: the part that this machine takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalSettings {
    /// Take part in placement although there are other hives. Without others it always does.
    #[serde(rename = "use")]
    pub takes_part: bool,
}

/// `[hub]`: where models come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubSettings {
    /// Address of a mirror; `HF_ENDPOINT` of the environment comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<wire::pull::Endpoint>,
}

/// `[run]`: defaults of `run` and `chat`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// Tokens of context.
    pub ctx_size: Option<u32>,
    /// As `--temperature`.
    pub temperature: Option<f64>,
    /// As `--top-k`.
    pub top_k: Option<u32>,
    /// As `--typical-p`.
    pub typical_p: Option<f64>,
    /// As `--top-p`.
    pub top_p: Option<f64>,
    /// As `--min-p`.
    pub min_p: Option<f64>,
    /// As `--repeat-penalty`.
    pub repeat_penalty: Option<f64>,
    /// As `--repeat-last-n`.
    pub repeat_last_n: Option<i64>,
    /// As `--max-tokens`.
    pub max_tokens: Option<u32>,
}

impl RunSettings {
    /// The sampling fields among them.
    pub fn sampling(&self) -> SamplingFields {
        SamplingFields {
            temperature: self.temperature,
            top_k: self.top_k,
            typical_p: self.typical_p,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            max_tokens: self.max_tokens,
            ..SamplingFields::default()
        }
    }

    fn check(&self) -> Result<(), String> {
        let context = limits::MIN_CTX_SIZE..=limits::MAX_CTX_SIZE;
        if self.ctx_size.is_some_and(|size| !context.contains(&size)) {
            return Err(format!(
                "run.ctx_size is a number from {} to {}",
                context.start(),
                context.end()
            ));
        }
        Sampling::try_from(&self.sampling()).map_err(|error| format!("run.{error}"))?;
        Ok(())
    }
}

impl Config {
    /// Reads the first configuration file that there is; without one everything is default.
    ///
    /// # Errors
    /// `INVALID_CONFIG` with the file, the line, the key and what was expected.
    pub fn load(environment: &Environment) -> Result<(Self, Option<PathBuf>), Fault> {
        for path in environment.config_candidates() {
            match read(&path) {
                Ok(text) => return Ok((Self::parse(&text, &path)?, Some(path))),
                Err(error) if is_absent(&error) && environment.config_file.is_none() => {}
                Err(error) => {
                    let message = format!("{}: the configuration cannot be read", path.display());
                    let fault = Fault::new(Code::InvalidConfig, message).cause(error);
                    return Err(fault.hint(format!("ls -l -- {}", path_word(&path))));
                }
            }
        }
        Ok((Self::default(), None))
    }

    /// Parses and checks a file's text; `path` is for the error.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Fault> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let key = error.span().and_then(|span| key_at(text, &span));
            refuse(path, text, key, error.span(), error.message())
        })?;
        config.check().map_err(|(key, problem)| {
            let span = span_of(text, &key);
            refuse(path, text, Some(key), span, &problem)
        })?;
        let own = theme::file(&config.theme, &path.with_file_name(THEMES));
        if Theme::built_in(&config.theme).is_none() && !own.exists() {
            let known = Theme::built_in_names();
            let problem = format!("a theme is {known}, or named by its file {}", own.display());
            let key = "theme".to_owned();
            return Err(refuse(path, text, Some(key.clone()), span_of(text, &key), &problem));
        }
        Ok(config)
    }

    /// What the types do not say: the key, and the rule that it breaks.
    fn check(&self) -> Result<(), (String, String)> {
        let keyed = |problem: String| {
            let key = problem.split(' ').next().unwrap_or_default().to_owned();
            (key, problem)
        };
        self.agent.check().map_err(|problem| keyed(problem.to_owned()))?;
        self.run.check().map_err(keyed)?;
        if self.hives.contains_key(&HiveName::local()) {
            let problem = "`local` is always this machine; another name is needed".to_owned();
            return Err(("hives.local".to_owned(), problem));
        }
        if self.hives.len() > limits::MAX_HIVES {
            let problem = format!("there are more than {} hives", limits::MAX_HIVES);
            return Err(("hives".to_owned(), problem));
        }
        if let Some(name) = &self.default_model {
            name.resolve(self.known_aliases())
                .map_err(|problem| ("default_model".to_owned(), problem.to_string()))?;
        }
        Ok(())
    }

    /// The aliases, to resolve names with.
    pub fn known_aliases(&self) -> Aliases<'_> {
        Aliases(&self.aliases)
    }
}

/// Where the person's own themes are: beside the configuration file.
pub fn themes_dir(environment: &Environment, config: Option<&Path>) -> PathBuf {
    beside(environment, config, THEMES)
}

/// A file or directory beside the configuration file, or where that would be.
pub fn beside(environment: &Environment, config: Option<&Path>, name: &str) -> PathBuf {
    match config {
        Some(file) => file.with_file_name(name),
        None => environment.dirs.config.join(name),
    }
}

/// The line and the column, from 1 and in characters, of a place in a text.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Reads a configuration file, at most as much of it as one may have.
///
/// # Errors
/// Those of the operating system, and for what is no regular file or too long.
pub fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // To open a FIFO is to wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let file = std::fs::File::open(path)?;
    file.take(limits::MAX_CONFIG_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limits::MAX_CONFIG_BYTES {
        let message = format!("it has more than {} bytes", limits::MAX_CONFIG_BYTES);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

fn refuse(
    path: &Path,
    text: &str,
    key: Option<String>,
    span: Option<Range<usize>>,
    problem: &str,
) -> Fault {
    let line = span.map_or(1, |span| {
        text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1)
    });
    let place = format!("{}, line {line}", path.display());
    let message = match &key {
        Some(key) => format!("{place}: `{key}`: {problem}"),
        None => format!("{place}: {problem}"),
    };
    let mut fault = Fault::new(Code::InvalidConfig, message)
        .hint(format!("${{EDITOR:-vi}} +{line} {}", path_word(path)))
        .detail("file", path.to_string_lossy().into_owned())
        .detail("line", line);
    if let Some(key) = key {
        fault = fault.detail("key", key);
    }
    fault
}

/// The dotted key whose name or value holds `span`.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut path = Vec::new();
    find(table.get_ref(), span, &mut path);
    (!path.is_empty()).then(|| path.join("."))
}

fn find(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        let inside = match value.get_ref() {
            // A table's own span is its header; its members are found by theirs.
            DeValue::Table(inner) => {
                path.push(key.get_ref().to_string());
                let depth = path.len();
                find(inner, span, path);
                if path.len() > depth {
                    return;
                }
                path.pop();
                holds(key.span())
            }
            _ => holds(key.span()) || holds(value.span()),
        };
        if inside {
            path.push(key.get_ref().to_string());
            return;
        }
    }
}

/// Where a dotted key stands.
fn span_of(text: &str, dotted: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut span = None;
    for part in dotted.split('.') {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
        span = Some(key.span());
        if let DeValue::Table(inner) = value.get_ref() {
            table = inner;
        }
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let fault = Config::parse(text, Path::new("/c/config.toml")).unwrap_err();
        assert_eq!(fault.code, Code::InvalidConfig);
        assert!(!fault.hints.is_empty());
        fault.message
    }

    #[test]
    fn an_error_names_file_line_key_and_what_was_expected() {
        let cases = [
            ("default_model = 7\n", "line 1: `default_model`", "string"),
            ("\n[agent]\nkeep_alive = 3\n", "line 3: `agent.keep_alive`", "keep_alive_s"),
            ("[agent]\nkeep_alive_s = -5\n", "line 2: `agent.keep_alive_s`", "-1"),
            ("[timings]\nheartbeat_ms = 0\n", "line 2: `timings.heartbeat_ms`", "milliseconds"),
            ("[aliases]\nx = \"nonsense\"\n", "line 2: `aliases.x`", "hf:org/repo"),
            ("[aliases]\n\"hf:x\" = \"demo\"\n", "line 2: `aliases", "alias"),
            ("theme = \"pink\"\n", "line 1: `theme`", "dark"),
            ("[run]\ntemperature = 9\n", "line 2: `run.temperature`", "0 to 2"),
            ("[run]\nctx_size = 1\n", "line 2: `run.ctx_size`", "64"),
            ("default_model = \"absent\"\n", "line 1: `default_model`", "alias"),
            ("oops", "line 1", ""),
        ];
        for (text, place, expected) in cases {
            let message = refused(text);
            assert!(message.starts_with("/c/config.toml, "), "{message}");
            assert!(message.contains(place), "{text:?}: {message}");
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_command_on_a_hive_is_one_line_that_can_be_pasted() {
        let hive = HiveSettings {
            address: "corp\\me@[fe80::1]:2222".parse().unwrap(),
            identity: Some("/k/it's".into()),
            jump: vec!["a".parse().unwrap(), "b:22".parse().unwrap()],
            lifetime: Lifetime::Persistent,
        };
        let line = r"ssh -i '/k/it'\''s' -J a,b:22 -p 2222 'corp\me@fe80::1' 'kill -KILL 7'";
        assert_eq!(hive.by_ssh("kill -KILL 7"), line);
        let lifetime = Lifetime::Persistent;
        let (identity, jump) = (None, vec![]);
        let plain = HiveSettings { address: "pc".parse().unwrap(), identity, jump, lifetime };
        assert_eq!(plain.by_ssh("df"), "ssh pc df");
    }

    #[test]
    fn the_same_address_behind_another_machine_is_another_machine() {
        let hive = |jump: &[&str]| HiveSettings {
            address: "10.0.0.7".parse().unwrap(),
            identity: None,
            jump: jump.iter().map(|one| one.parse().unwrap()).collect(),
            lifetime: Lifetime::Persistent,
        };
        assert!(hive(&["a"]).leads_where(&hive(&["a"])));
        assert!(!hive(&["a"]).leads_where(&hive(&["b"])) && !hive(&[]).leads_where(&hive(&["b"])));
    }

    #[test]
    fn a_configuration_that_is_no_file_is_refused_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("config.toml");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&fifo).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        assert!(is_absent(&read(&dir.path().join("absent")).unwrap_err()));
    }

    #[test]
    fn an_empty_file_means_the_defaults_and_they_are_written_as_they_are_read() {
        let path = Path::new("c");
        let config = Config::parse("", path).unwrap();
        assert_eq!(config, Config::default());
        let shown = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&shown, path).unwrap(), config);
    }

    #[test]
    fn every_documented_key_is_read() {
        let text = r#"
            default_model = "tiny"
            theme = "light"
            [aliases]
            tiny = "demo"
            "llama3.2:1b" = "hf:org/repo:Q4_K_M"
            [run]
            ctx_size = 4096
            temperature = 0.2
            [agent]
            keep_alive_s = -1
            [timings]
            heartbeat_ms = 100
        "#;
        let config = Config::parse(text, Path::new("c")).unwrap();
        assert_eq!(config.theme.to_string(), "light");
        assert_eq!(config.run.sampling().temperature, Some(0.2));
        assert_eq!(config.aliases.len(), 2);
        assert_eq!(config.agent.keep_alive_s, -1);
        let shown = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&shown, Path::new("c")).unwrap(), config);
    }
}
