//! A scene: a fresh database, the service, clients that write and read, and the checks. A fault acts through the
//! methods of [`Scene`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use auditlog_verify::merkle::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::check::{Checker, Findings, When};
use crate::client::Client;
use crate::database::{Database, Server};
use crate::faults::disk::Disk;
use crate::gauges::MEMORY;
use crate::journal::Journal;
use crate::load::{Load, Shared};
use crate::options::Backend;
use crate::report::Figures;
use crate::say;
use crate::service::{self, COMES_BACK, Service};
use crate::watch::{Seen, Watch};

/// Entries that must be acknowledged before a fault, and again after it.
const LOAD: u64 = 20;
/// The time limit for pending requests to end after a fault is over.
const SETTLES: Duration = Duration::from_secs(90);
/// The maximum value of each gauge of a service. Memory allows for a debug build, which takes 150 to 200 MB after some attacks,
/// and for the bytes that it may hold. The other limits follow the defaults of the service, with two additions: held
/// bytes include ready responses, which go out beyond the limit, and requests in flight include about one request per
/// connection that waits for its body without a permit.
const MOST: [(&str, f64); 7] = [
    (MEMORY, 550e6),
    ("auditlog_connections", 1_024.0),
    ("auditlog_held_bytes", 320.0 * MIB),
    ("auditlog_requests_in_flight", 2_048.0),
    ("auditlog_reads", 320.0),
    ("auditlog_queue_entries", 20_000.0),
    ("auditlog_queue_bytes", 64.0 * MIB),
];
const MIB: f64 = 1_048_576.0;

/// A running scene, which a fault acts on.
pub struct Scene {
    pub directory: PathBuf,
    pub database: Database,
    /// The disk that holds the database, if a fault can fill it. Declared after the database, which must be dropped
    /// first.
    pub disk: Option<Disk>,
    /// One service, unless a fault adds more.
    pub services: Vec<Service>,
    pub load: Load,
    watch: Watch,
    checker: Checker,
    /// The source of the fault's own random choices.
    pub random: StdRng,
    pub figures: Figures,
    /// The API key of all clients.
    pub key: String,
    begun: Instant,
}

/// The settings of a scene that a fault may change.
#[derive(Default)]
pub struct Setting {
    /// The disk that holds the database; `None` for the scene's directory.
    pub disk: Option<Disk>,
    /// Extra command-line options of PostgreSQL.
    pub postgres: &'static str,
    /// Extra environment variables of the services.
    pub environment: Vec<(&'static str, String)>,
    /// The number of services; 0 means one.
    pub replicas: usize,
}

impl Scene {
    /// Creates the scene in `directory` and starts the load. The template for PostgreSQL is kept beside `directory`.
    pub async fn open(
        backend: Backend,
        name: &str,
        directory: &Path,
        seed: u64,
        setting: Setting,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let directory = directory.to_owned();
        let place = setting.disk.as_ref().map_or_else(|| directory.clone(), |disk| disk.directory.clone());
        let database = match backend {
            Backend::Sqlite => Database::Sqlite { file: place.join("torture.db") },
            Backend::Postgres => {
                let server =
                    Server::create(&place.join("postgres"), &directory.with_file_name("template"), setting.postgres)?;
                Database::Postgres(server)
            }
        };
        let url = database.url();
        let scopes = ["read", "write", "verify"].map(|scope| ["--scope", scope]);
        let keys = [&["keys", "create", "--all-organizations"], scopes.as_flattened()].concat();
        let key = service::run_in(&setting.environment, &keys, &url)?;
        let signing = directory.join("signing.key");
        service::run(&["signing-key", "create", "--signing-key", signing.to_str().context("UTF-8")?], &url)?;
        let mut services = Vec::new();
        for number in 0..setting.replicas.max(1) {
            let name = format!("service-{number}");
            for ending in ["key", "key.state"] {
                fs::copy(signing.with_extension(ending), directory.join(format!("{name}.{ending}")))?;
            }
            let mut service = Service::new(&name, &directory, &url, &key)?;
            for (variable, value) in &setting.environment {
                service.set(variable, value);
            }
            service.restart().await?;
            services.push(service);
        }
        let journal = Journal::create(&directory.join("journal"))?;
        let key_id = key.split('_').nth(1).context("a key has an id")?.to_owned();
        let checker = Checker::new(journal.reader(), signing_key(&signing)?, key_id);
        let shared = Arc::new(Shared::new(journal, services.iter().map(Service::client).collect()));
        let watch = Watch::start(&shared, seed);
        let load = Load::start(shared, seed);
        let (random, figures) = (StdRng::seed_from_u64(seed), Figures::new(backend.name(), name));
        Ok(Self {
            directory,
            database,
            disk: setting.disk,
            services,
            load,
            watch,
            checker,
            random,
            figures,
            key,
            begun,
        })
    }

    /// A client of the service at another address, for example that of a proxy.
    pub fn client_at(&self, url: &str) -> anyhow::Result<Client> {
        Client::new(url, &self.key)
    }

    /// Waits until the load makes progress. Called before a fault, so that the fault meets requests, and after it.
    pub async fn load_runs(&self) -> anyhow::Result<()> {
        self.load.acknowledges(LOAD, COMES_BACK).await
    }

    /// Waits for a random time in `range`, in milliseconds.
    pub async fn wait(&mut self, range: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(range))).await;
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    pub fn seed(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// Counts one injected fault.
    pub fn happened(&mut self) {
        self.figures.faults += 1;
    }

    /// The check after a fault: the load makes progress, clients saw only errors in `allowed`, and every check passes.
    pub async fn check(&mut self, allowed: &[&str]) -> anyhow::Result<()> {
        self.load_runs().await?;
        let paused =
            tokio::time::timeout(SETTLES, self.load.shared.paused()).await.context("a request does not end")?;
        let findings = self.examine(When::Between).await?;
        drop(paused);
        self.judge(&findings, allowed)
    }

    /// Waits until every request is answered, then runs the complete checks.
    pub async fn finish(&mut self, allowed: &[&str]) -> anyhow::Result<()> {
        // After a fault has stopped the signer, the signer retries every few seconds.
        let begun = Instant::now();
        while self.watch.seen.lock().expect("no panic").checkpoints.is_empty() && begun.elapsed() < COMES_BACK {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.load.settle(SETTLES).await?;
        self.watch.settle(SETTLES).await?;
        let findings = self.examine(When::Settled).await?;
        self.count();
        self.judge(&findings, allowed)?;
        for service in &self.services {
            ensure!(
                service.most(MEMORY).is_some_and(|most| most > 0.0),
                "its metrics could not be read, so its limits were not checked"
            );
            for (gauge, most) in MOST {
                let was = service.most(gauge).with_context(|| format!("{gauge} was never seen"))?;
                ensure!(was <= most, "{gauge} was {was}; its limit is {most}");
            }
        }
        ensure!(self.figures.walks > 0, "no walk reached its end, so no walk was checked");
        ensure!(self.figures.checkpoints > 0, "no checkpoint was seen, so none was checked");
        Ok(())
    }

    /// Runs the checks and returns the findings.
    pub async fn examine(&mut self, when: When) -> anyhow::Result<Findings> {
        let mut seen = {
            let mut seen = self.watch.seen.lock().expect("no panic");
            Seen { walks: std::mem::take(&mut seen.walks), checkpoints: seen.checkpoints.clone() }
        };
        let client = self.services[0].client();
        let mut findings = self.checker.check(&self.database, &client, &mut seen, when).await?;
        findings.other.extend(self.load.shared.take_strange());
        findings.other.extend(self.services.iter().flat_map(Service::panics));
        findings.other.extend(self.database.deadlocks());
        Ok(findings)
    }

    fn judge(&mut self, findings: &Findings, allowed: &[&str]) -> anyhow::Result<()> {
        let figures = &mut self.figures;
        figures.lost += findings.lost.len() as u64;
        figures.duplicated += findings.duplicated.len() as u64;
        figures.wrong += findings.other.len() as u64;
        if !findings.is_empty() {
            bail!("after {} faults:\n{}", figures.faults, findings.summary());
        }
        let mut unexpected = Vec::new();
        for (trouble, count) in self.load.shared.take_troubles() {
            if !allowed.contains(&trouble.as_str()) {
                unexpected.push(trouble.clone());
            }
            *figures.troubles.entry(trouble).or_default() += count;
        }
        ensure!(unexpected.is_empty(), "clients saw {unexpected:?}, but this fault excuses only {allowed:?}");
        Ok(())
    }

    /// Copies the counters of the load into the figures.
    pub fn count(&mut self) {
        let (shared, extent) = (&self.load.shared, self.checker.extent);
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let figures = &mut self.figures;
        figures.requests = read(&shared.requests);
        figures.acknowledged = read(&shared.acknowledged);
        figures.resent = read(&shared.resent);
        figures.repeated = read(&shared.repeated);
        (figures.stored, figures.walks, figures.checkpoints) = (extent.stored, extent.walks, extent.checkpoints);
        figures.memory = self.services.iter().filter_map(|service| service.most(MEMORY)).fold(0.0, f64::max);
        figures.took = self.begun.elapsed();
    }

    pub fn tell(&self, line: &str) {
        say(&format!("  {line}"));
    }
}

/// Reads the key from a file that `auditlog signing-key create` wrote.
fn signing_key(file: &Path) -> anyhow::Result<SigningKey> {
    let text = fs::read_to_string(file)?;
    let seed = text.lines().find_map(|line| line.strip_prefix("ed25519 ")).context("a line with a key")?;
    Ok(SigningKey::from_seed(&STANDARD.decode(seed.trim())?)?)
}
