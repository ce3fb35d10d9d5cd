//! A statement that comes when its view is there already: compared on it before the first answer, and never answered from one
//! that differs.

use super::*;

/// The view of `BY_TYPE` answers this too.
const BY_STATUS: &str = "SELECT status, COUNT(*), MAX(amount) FROM financial_transactions GROUP BY status ORDER BY status";

async fn with_view_of_by_type() -> (MySql, Session, Room) {
    let (server, mut session, room) = rig(5_000, |_| ()).await;
    room.ask_until_view(&mut session, BY_TYPE).await;
    (server, session, room)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_statement_that_comes_after_its_view_is_compared_first() {
    let (_server, mut session, room) = with_view_of_by_type().await;
    let mut reasons = Vec::new();
    loop {
        let (rows, by) = room.ask(&mut session, BY_STATUS).await;
        assert_eq!(rows, cells(&mut session.conn, BY_STATUS).await.unwrap());
        match by {
            By::Base(reason) => reasons.push(reason),
            _ => break,
        }
        assert!(reasons.len() < 1_000, "{:?}", reasons.last());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(reasons.iter().any(|r| r == "not_compared"), "{reasons:?}");
    assert_eq!(room.views.snapshot().views.len(), 1);
    room.stop.request();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_view_that_differs_answers_nothing_new_and_goes() {
    let (server, mut session, room) = with_view_of_by_type().await;
    let storage = tables_of_views(&server);
    let storage = format!("tidegate.{}", storage.trim());
    let columns = server.run(&format!("SHOW COLUMNS IN {storage} LIKE 'm%'"));
    let wrong: Vec<String> = columns
        .lines()
        .filter_map(|line| line.split('\t').next())
        .map(|measure| format!("{measure} = {measure} + 1"))
        .collect();
    server.run(&format!("UPDATE {storage} SET {}", wrong.join(", ")));
    // Each answer is the base table's, for as long as it takes to find out.
    let until = Instant::now() + Duration::from_secs(30);
    while room.views.snapshot().counters.mismatches == 0 {
        let (_, by) = room.ask(&mut session, BY_STATUS).await;
        assert!(matches!(by, By::Base(_)), "{by:?}");
        assert!(Instant::now() < until, "{:#?}", room.views.snapshot());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    room.shows("the view gone", |s| s.views.is_empty()).await;
    let (_, by) = room.ask(&mut session, BY_STATUS).await;
    assert!(matches!(by, By::Base(_)), "{by:?}");
    room.stop.request();
}
