//! Places where a test lets the process die. In the program there is nothing of it.

#[cfg(not(test))]
pub const fn reach(_: &str) {}

/// Dies at once, as by SIGKILL, when the place that the test names is reached so many times.
#[cfg(test)]
pub fn reach(place: &str) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static REACHED: AtomicUsize = AtomicUsize::new(0);
    let Ok(wanted) = std::env::var(super::tests::KILL_AT) else { return };
    let Some((name, times)) = wanted.split_once(' ') else { return };
    if name == place && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == times.parse().unwrap_or(1) {
        // What is said too early is heard meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::process::abort();
    }
}
