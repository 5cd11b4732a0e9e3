//! A lane: its holder, and the state that it keeps.

use super::steps::{claim, webhook};
use crate::journal::{Journal, Lane, LaneState};
use crate::model::{ManualClock, Ordering};

pub(super) async fn a_lanes_state_is_replaced_only_if_it_is_the_expected_one<J: Journal>(
    journal: J,
    _: ManualClock,
) {
    let state = |byte| LaneState(vec![byte; 3]);
    let mut current: Option<LaneState> = None;
    let mut step = 0_u8;
    while step < 20 {
        let mut lane = claim(&journal, 1, Ordering::None).await;
        while step < 20 {
            let Ok(found) = lane.state().await else { break };
            assert_eq!(found, current);
            let wrong = state(100 + step);
            match lane.compare_and_set(Some(&wrong), state(200)).await {
                Ok(replaced) => assert!(!replaced),
                Err(_) => break,
            }
            match lane.compare_and_set(current.as_ref(), state(step)).await {
                Ok(replaced) => assert!(replaced),
                Err(_) => break,
            }
            current = Some(state(step));
            step += 1;
        }
    }
}

pub(super) async fn a_lane_has_one_holder<J: Journal>(journal: J, _: ManualClock) {
    let lane = claim(&journal, 1, Ordering::None).await;
    for _ in 0..20 {
        assert!(journal.claim(webhook(1), Ordering::None).await.is_err());
    }
    drop(lane);
    claim(&journal, 1, Ordering::None).await;
}
