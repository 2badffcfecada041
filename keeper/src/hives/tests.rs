//! What holds of edits to a real file.

use super::*;
use std::os::unix::fs::symlink;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("rbee/config.toml")
    }

    fn registry(&self) -> Registry {
        let fallback = Some(self.0.path().join("etc/config.toml"));
        Registry { path: self.file(), fallback }
    }

    fn write(&self, text: &str) {
        fs::create_dir_all(self.file().parent().unwrap()).unwrap();
        fs::write(self.file(), text).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        fs::read_dir(self.file().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn hive(address: &str) -> HiveSettings {
    let (identity, jump) = (None, Vec::new());
    let lifetime = wire::settings::Lifetime::Persistent;
    HiveSettings { address: address.parse().unwrap(), identity, jump, lifetime }
}

fn name(text: &str) -> HiveName {
    text.parse().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "current_thread")]
async fn the_first_hive_makes_a_private_file() {
    let home = Home::new();
    let path = home.registry().add(&name("pc"), &hive("ada@pc:2222")).await.unwrap();
    assert_eq!(path, home.file());
    assert_eq!(home.text(), "[hives.pc]\naddress = \"ada@pc:2222\"\n");
    assert_eq!(mode(&home.file()), 0o600);
    let mut names = home.names();
    names.sort();
    assert_eq!(names, [".config.toml.lock", "config.toml"], "nothing half done");
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_is_taken_is_refused_and_the_file_stays() {
    let home = Home::new();
    home.registry().add(&name("pc"), &hive("ada@pc")).await.unwrap();
    let before = home.text();
    let fault = home.registry().add(&name("pc"), &hive("bob@other")).await.unwrap_err();
    assert_eq!(fault.code, Code::InvalidArgument);
    assert!(fault.message.contains("ada@pc"), "{fault}");
    assert_eq!(fault.hints, ["rbee hive show pc", "rbee hive remove pc"]);
    let local = home.registry().add(&name("local"), &hive("x")).await.unwrap_err();
    assert_eq!(local.code, Code::InvalidArgument);
    assert_eq!(home.text(), before);
}

#[tokio::test(flavor = "current_thread")]
async fn an_unknown_hive_is_named_with_those_that_are_known() {
    let home = Home::new();
    home.registry().add(&name("pc"), &hive("pc")).await.unwrap();
    let fault = home.registry().remove(&name("cp")).await.unwrap_err();
    assert_eq!(fault.code, Code::HiveNotFound);
    assert!(fault.causes[0].contains("pc"), "{fault:?}");
    assert_eq!(fault.hints[0], "rbee hive add cp user@host");
    home.registry().remove(&name("pc")).await.unwrap();
    assert_eq!(home.text(), "");
}

#[tokio::test(flavor = "current_thread")]
async fn mode_and_link_of_the_file_stay_what_they_were() {
    let home = Home::new();
    home.write("");
    let dotfiles = home.0.path().join("dotfiles");
    fs::create_dir(&dotfiles).unwrap();
    let real = dotfiles.join("rbee.toml");
    fs::write(&real, "# mine\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(home.file()).unwrap();
    symlink("../dotfiles/rbee.toml", home.file()).unwrap();
    home.registry().add(&name("pc"), &hive("pc")).await.unwrap();
    assert!(fs::symlink_metadata(home.file()).unwrap().is_symlink());
    assert_eq!(home.text(), "# mine\n\n[hives.pc]\naddress = \"pc\"\n");
    assert_eq!(mode(&real), 0o640);
    // A link to a file that is not there yet.
    fs::remove_file(&real).unwrap();
    home.registry().add(&name("pc"), &hive("pc")).await.unwrap();
    assert!(real.is_file());
}

#[tokio::test(flavor = "current_thread")]
async fn a_broken_file_is_refused_with_its_own_error_and_stays() {
    let home = Home::new();
    let broken = "[run]\ntemperature = \"hot\"\n";
    home.write(broken);
    let fault = home.registry().add(&name("pc"), &hive("pc")).await.unwrap_err();
    assert_eq!(fault.code, Code::InvalidConfig);
    assert!(fault.message.contains("line 2"), "{fault}");
    assert_eq!(home.text(), broken);
}

#[tokio::test(flavor = "current_thread")]
async fn the_machines_file_is_copied_and_never_written() {
    let home = Home::new();
    let etc = home.0.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let theirs = "[aliases]\ntiny = \"demo\"  # ours\n";
    fs::write(etc.join("config.toml"), theirs).unwrap();
    home.registry().add(&name("pc"), &hive("pc")).await.unwrap();
    assert_eq!(fs::read_to_string(etc.join("config.toml")).unwrap(), theirs);
    assert_eq!(home.text(), format!("{theirs}\n[hives.pc]\naddress = \"pc\"\n"));
    assert_eq!(mode(&home.file()), 0o600);
}

#[test]
fn hives_that_are_added_at_once_all_land() {
    let home = Home::new();
    home.write("# kept\n");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let registry = home.registry();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                let name = name(&format!("pc{number}"));
                runtime.unwrap().block_on(registry.add(&name, &hive("pc"))).unwrap();
            });
        }
    });
    let config = Config::parse(&home.text(), &home.file()).unwrap();
    assert_eq!(config.hives.len(), 8);
    assert!(home.text().starts_with("# kept\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn what_somebody_wrote_meanwhile_is_kept() {
    let home = Home::new();
    home.registry().add(&name("a"), &hive("a")).await.unwrap();
    // The registry was made before, as a keeper's is that connects for a while.
    let registry = home.registry();
    home.write(&format!("{}\n[run]\nctx_size = 4096 # by hand\n", home.text()));
    registry.add(&name("b"), &hive("b")).await.unwrap();
    assert!(home.text().contains("ctx_size = 4096 # by hand"), "{}", home.text());
    let config = Config::parse(&home.text(), &home.file()).unwrap();
    assert_eq!(config.hives.len(), 2);
}
