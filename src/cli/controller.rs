//! `herald controller`

use std::process::ExitCode;

use clap::Args;

use super::assembly::Assembly;
use super::flags::{ClusterFlags, ControllerFlags, OutboundFlags, TelemetryFlags};

/// Verify Webhooks and keep their status
#[derive(Debug, Args)]
pub(super) struct Controller {
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    verification: ControllerFlags,
    #[command(flatten)]
    outbound: OutboundFlags,
    #[command(flatten)]
    telemetry: TelemetryFlags,
}

impl Controller {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut assembly = Assembly::begin(self.cluster, &self.outbound, &self.telemetry).await?;
        assembly.controller(&self.verification)?;
        assembly.run().await?;
        Ok(ExitCode::SUCCESS)
    }
}
