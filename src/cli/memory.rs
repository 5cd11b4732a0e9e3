//! What others get to see of this process's memory, which holds keys, tokens and
//! events: nothing.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// No core dumps, and no tracing by other processes of the same user, for as long as it runs.
///
/// # Errors
/// The kernel refuses; what it did before that stays done.
pub(super) fn seal() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A limit does not count where the kernel pipes dumps to a program; this does.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::getrlimit;

    use super::*;

    #[test]
    fn a_sealed_process_leaves_no_core_and_lets_nobody_trace_it() {
        seal().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Core);
        assert_eq!((current, maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            rustix::process::DumpableBehavior::NotDumpable
        );
    }
}
