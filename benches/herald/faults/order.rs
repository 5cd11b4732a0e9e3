//! Whether each user's events came in their order, where a webhook promises it.

use std::collections::HashMap;

use super::super::producer::{Post, USERS};

/// How many events came before one of the same user that was acknowledged before they were sent.
///
/// Which of two came first is only known so: what is sent again while another is sent has no order.
pub fn out_of_order(posts: &[Post], order: &[u64]) -> usize {
    let place: HashMap<u64, usize> =
        order.iter().enumerate().map(|(place, number)| (*number, place)).collect();
    let mut users: HashMap<u64, Vec<&Post>> = HashMap::new();
    for post in posts {
        users.entry(post.number % USERS).or_default().push(post);
    }
    let came_early = |later: &&&Post, of: &[&Post]| {
        let Some(at) = place.get(&later.number) else { return false };
        let before = |earlier: &&&Post| earlier.accepted < later.begun;
        of.iter().filter(before).any(|earlier| place.get(&earlier.number).is_none_or(|before| before > at))
    };
    users.values().map(|of| of.iter().filter(|later| came_early(later, of)).count()).sum()
}
