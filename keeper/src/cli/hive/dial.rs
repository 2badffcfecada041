//! The ways to hives whose steps are shown.

use std::sync::Arc;

use wire::{Fault, HiveName};

use super::steps::Steps;
use crate::config::HiveSettings;
use crate::context::Context;
use crate::link::remote::Remote;
use crate::ssh::config::resolve;
use crate::ssh::resolved::Resolved;

/// The way to a hive of the configuration; none to this machine.
pub fn remote(context: &Context, hive: &HiveName, steps: &Arc<Steps>) -> Option<Remote> {
    let settings = context.config.hives.get(hive)?;
    Some(context.dialer.remote(hive, settings, false, steps.clone()))
}

/// What counts for the connection to a hive.
///
/// # Errors
/// `INVALID_CONFIG` for an ssh configuration that cannot be used.
pub async fn resolved(context: &Context, hive: &HiveSettings) -> Result<Resolved, Fault> {
    let around = &context.environment.ssh;
    resolve(around, &hive.address, hive.identity.as_deref(), &hive.jump).await
}
