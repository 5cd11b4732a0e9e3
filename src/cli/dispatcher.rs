//! `herald dispatcher`

use std::process::ExitCode;

use clap::Args;

use super::assembly::Assembly;
use super::flags::{
    ClusterFlags, ControllerFlags, DispatchFlags, IngestFlags, JournalFlags, OutboundFlags, QuotaFlags,
    TelemetryFlags,
};

/// Take user events, store them, and deliver them to verified Webhooks
#[derive(Debug, Args)]
pub(super) struct Dispatcher {
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    ingest: IngestFlags,
    #[command(flatten)]
    quota: QuotaFlags,
    #[command(flatten)]
    journal: JournalFlags,
    #[command(flatten)]
    dispatch: DispatchFlags,
    #[command(flatten)]
    outbound: OutboundFlags,
    #[command(flatten)]
    telemetry: TelemetryFlags,
}

impl Dispatcher {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.run_with(None).await
    }

    /// With the controller in the same process, if there are flags for one.
    pub(super) async fn run_with(self, controller: Option<ControllerFlags>) -> anyhow::Result<ExitCode> {
        let mut assembly = Assembly::begin(self.cluster, &self.outbound, &self.telemetry).await?;
        if let Some(flags) = controller {
            assembly.controller(&flags)?;
        }
        assembly.dispatcher(&self.ingest, &self.quota, &self.journal, &self.dispatch).await?;
        assembly.run().await?;
        Ok(ExitCode::SUCCESS)
    }
}
