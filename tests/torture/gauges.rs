//! Polls the metrics endpoint of a process and keeps the highest values.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

pub const MEMORY: &str = "process_resident_memory_bytes";

const PAUSE: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_secs(1);

/// The highest value of each gauge and counter, by name and labels.
pub struct Gauges(Arc<Mutex<BTreeMap<String, f64>>>);

impl Gauges {
    /// Polls `address` until it is dropped, also while the process is down.
    pub fn watch(address: String) -> Self {
        let gauges = Self(Arc::default());
        let seen = Arc::downgrade(&gauges.0);
        std::thread::spawn(move || {
            while look(&address, &seen).is_some() {
                std::thread::sleep(PAUSE);
            }
        });
        gauges
    }

    /// `None` if the metric was never present.
    pub fn most(&self, gauge: &str) -> Option<f64> {
        self.0.lock().expect("no panic").get(gauge).copied()
    }
}

/// `None` once the [`Gauges`] value is dropped.
fn look(address: &str, seen: &Weak<Mutex<BTreeMap<String, f64>>>) -> Option<()> {
    let now = now(address).unwrap_or_default();
    let seen = seen.upgrade()?;
    let mut seen = seen.lock().expect("no panic");
    for (name, value) in now {
        let most = seen.entry(name).or_insert(value);
        *most = most.max(value);
    }
    Some(())
}

/// The current value of all metrics; `None` if the endpoint does not answer.
pub fn now(address: &str) -> Option<BTreeMap<String, f64>> {
    let address: SocketAddr = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let gauge = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Some(text.lines().filter_map(gauge).collect())
}
