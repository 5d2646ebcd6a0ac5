//! Waits until the tasks of a service run, and shows how far they are.

mod drawn;
mod seen;

use std::collections::BTreeSet;
use std::time::Duration;

use api::client::{Client, ClientError};
use api::cluster::ProblemKind;
use api::filters::Filters;
use api::wire::service::Service;
use tokio::time::Instant;

use self::drawn::Drawn;
use self::seen::{Goal, look};
use crate::args::service::WaitArgs;
use crate::exit::Failure;
use crate::out::Out;

/// Between two looks: as often as Docker's CLI.
const LOOK: Duration = Duration::from_millis(200);
/// How long tasks must go on running if the service does not say: enough to see a command that
/// cannot start or ends at once.
const STABLE: Duration = Duration::from_secs(1);

/// Waits; Ctrl-C ends the waiting and leaves the service.
pub(crate) async fn wait(
    id: &str,
    is_new: bool,
    args: WaitArgs,
    (client, out): (&Client, &mut Out),
) -> Result<(), Failure> {
    let limit = args.wait_timeout;
    let mut drawn = Drawn::new(out.terminal, args.quiet);
    let ended = tokio::select! {
        ended = until_stable(id, client, &mut drawn) => ended,
        () = after(limit) => {
            drawn.clear();
            let hint = hint(id, is_new);
            return Err(Failure::timeout(format!("The tasks did not run in time.\n{hint}")));
        }
        _ = tokio::signal::ctrl_c() => {
            drawn.clear();
            out.note(format!("Operation continuing in background.\n{}", hint(id, is_new)));
            return Ok(());
        }
    };
    drawn.clear();
    let words = ended?;
    if !args.quiet {
        out.note(words);
    }
    Ok(())
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn hint(id: &str, is_new: bool) -> String {
    let watch = format!("Use `skep service ps {id}` to check progress.");
    if is_new {
        format!("{watch}\nUse `skep service rm {id}` to remove the service.")
    } else {
        watch
    }
}

/// The last words when all is well.
async fn until_stable(id: &str, client: &Client, drawn: &mut Drawn) -> Result<String, Failure> {
    let mut since: Option<Instant> = None;
    loop {
        // Nobody leads for a moment: the service goes on, and so does the waiting.
        let Some((service, goal)) = calm(look_once(id, client).await)? else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        drawn.show(&goal);
        if let Some(failure) = goal.failure {
            return Err(Failure::new(failure));
        }
        if goal.is_job && goal.reached {
            return Ok("job complete".to_owned());
        }
        if goal.reached {
            let since = *since.get_or_insert_with(Instant::now);
            let left = monitor(&service).saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(format!("verify: Service {} converged", service.spec.name));
            }
            let seconds = left.as_secs() + 1;
            drawn.verify(format!("verify: Waiting {seconds} s to see that tasks are stable"));
        } else {
            since = None;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How long tasks must go on running.
fn monitor(service: &Service) -> Duration {
    let update = service.spec.update_config.as_ref();
    let said = update.map_or(0, |update| update.monitor);
    if said == 0 { STABLE } else { Duration::from_nanos(said.unsigned_abs()) }
}

async fn look_once(id: &str, client: &Client) -> Result<(Service, Goal), ClientError> {
    let service = client.service(id, false).await?;
    let wanted = Filters::default().and("service", id).and("_up-to-date", "true");
    let tasks = client.tasks(&wanted).await?;
    let nodes = client.nodes(&Filters::default()).await?;
    let down: BTreeSet<_> =
        nodes.into_iter().filter(|node| node.status.state == "down").map(|node| node.id).collect();
    let goal = look(&service, &tasks, &down);
    Ok((service, goal))
}

/// `None` for what passes by itself.
fn calm<T>(looked: Result<T, ClientError>) -> Result<Option<T>, Failure> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(error) => {
            let passes = error.problem().is_some_and(|problem| {
                matches!(problem.kind, ProblemKind::NoLeader | ProblemKind::NotLeader)
            });
            if passes { Ok(None) } else { Err(error.into()) }
        }
    }
}
