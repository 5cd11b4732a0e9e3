//! Whether this process is alive, and whether it is ready for work.

use std::fmt;
use std::sync::Arc;

/// A named question with yes or no for an answer.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    passes: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Check {
    /// A question that `passes` answers, at once and without I/O.
    pub fn new(name: &'static str, passes: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { name, passes: Arc::new(passes) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The questions that the kubelet asks.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// If one of these fails, only a restart can help.
    pub live: Vec<Check>,
    /// If one of these fails, no work is to be sent here for now.
    pub ready: Vec<Check>,
}

/// The verdict on a list of checks, with a line for each.
pub(super) fn report(checks: &[Check]) -> (bool, String) {
    let mut healthy = true;
    let mut text = String::new();
    for check in checks {
        let passes = (check.passes)();
        healthy &= passes;
        text.push_str(check.name);
        text.push_str(if passes { ": ok\n" } else { ": failed\n" });
    }
    if checks.is_empty() {
        text.push_str("ok\n");
    }
    (healthy, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_is_named_and_fails_the_whole() {
        let checks = [Check::new("journal", || true), Check::new("webhooks", || false)];
        assert_eq!(report(&checks), (false, "journal: ok\nwebhooks: failed\n".to_owned()));
        assert_eq!(report(&checks[..1]), (true, "journal: ok\n".to_owned()));
        assert_eq!(report(&[]), (true, "ok\n".to_owned()));
    }
}
