//! `herald run`

use std::process::ExitCode;

use clap::Args;

use super::assembly::Assembly;
use super::flags::{
    ClusterFlags, ControllerFlags, DispatchFlags, IngestFlags, JournalFlags, OutboundFlags, TelemetryFlags,
};

/// Controller and dispatcher in one process, for a small cluster or a try
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    controller: ControllerFlags,
    #[command(flatten)]
    ingest: IngestFlags,
    #[command(flatten)]
    journal: JournalFlags,
    #[command(flatten)]
    dispatch: DispatchFlags,
    #[command(flatten)]
    outbound: OutboundFlags,
    #[command(flatten)]
    telemetry: TelemetryFlags,
}

impl Run {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut assembly = Assembly::begin(self.cluster, &self.outbound, &self.telemetry).await?;
        assembly.controller(&self.controller);
        assembly.dispatcher(&self.ingest, &self.journal, &self.dispatch).await?;
        assembly.run().await?;
        Ok(ExitCode::SUCCESS)
    }
}
