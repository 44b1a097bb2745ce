//! How long a gateway that was killed is away.

use super::{Both, Queue};
use crate::bench::row::Group;
use crate::bench::samples::Samples;
use crate::bench::{Effort, Row};

pub(super) async fn measure(
    group: &Group,
    both: &mut Both<Queue>,
    effort: Effort,
) -> anyhow::Result<Vec<Row>> {
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        few.push(both.few.gateway.restart().await?);
        many.push(both.many.gateway.restart().await?);
    }
    let (few, many) = (Samples::new(few), Samples::new(many));
    Ok(vec![group.times("gateway killed: start to serving", &many).over(few.median())])
}
