//! `herald run`

use std::process::ExitCode;

use clap::Args;

use super::dispatcher::Dispatcher;
use super::flags::ControllerFlags;

/// Controller and dispatcher in one process, for a small cluster or a try
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    controller: ControllerFlags,
    #[command(flatten)]
    dispatcher: Dispatcher,
}

impl Run {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.dispatcher.run_with(Some(self.controller)).await
    }
}
