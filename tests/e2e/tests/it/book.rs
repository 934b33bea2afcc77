//! The book: what its pages say to type is typed, and what they say is seen must be seen.
//! `quorate_e2e::book` tells how, and what the long form adds.

mod commands;
mod limits;
mod runner;

use std::path::Path;

use quorate_e2e::book::page::Page;
use quorate_e2e::{book, turn, workspace};

/// The pages with something to try, each of which has a test below.
const TRIED: &[&str] = &[
    "abi.md",
    "operating.md",
    "recipes/fencing-lock.md",
    "recipes/idempotent-api.md",
    "recipes/secondary-index.md",
    "recipes/work-queue.md",
    "storage.md",
    "testing.md",
    "tutorial.md",
];

/// Does all that a page says; then looks at its folder.
async fn try_page(name: &'static str, look: impl FnOnce(&Page, &Path) + Send + 'static) {
    let _turn = turn().await;
    // It waits for processes, which would hold up the runtime.
    let tried = tokio::task::spawn_blocking(move || {
        let page = book::page(name);
        let folder = book::run(&page);
        look(&page, folder.path());
    });
    if let Err(failed) = tried.await {
        std::panic::resume_unwind(failed.into_panic());
    }
}

fn nothing_more(_: &Page, _: &Path) {}

#[test]
fn every_page_with_something_to_try_is_tried() {
    for name in book::pages() {
        let does = book::page(&name).does_something();
        assert_eq!(does, TRIED.contains(&name.as_str()), "{name}: see TRIED");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let broken = book::links::broken(&book::folder(), &book::pages());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test]
async fn the_tutorial() {
    // The plugin is in the repository too, where its tests are run with all others.
    let kept = workspace().join("docs/tickets");
    try_page("tutorial.md", move |page, folder| book::check_same(page, folder, &kept)).await;
}

#[tokio::test]
async fn operating_a_cluster() {
    try_page("operating.md", nothing_more).await;
}

#[tokio::test]
async fn a_plugin_in_c() {
    try_page("abi.md", nothing_more).await;
}

#[tokio::test]
async fn storage() {
    try_page("storage.md", nothing_more).await;
}

#[tokio::test]
async fn testing() {
    try_page("testing.md", nothing_more).await;
}

#[tokio::test]
async fn a_call_that_can_be_sent_again() {
    try_page("recipes/idempotent-api.md", nothing_more).await;
}

#[tokio::test]
async fn a_work_queue() {
    try_page("recipes/work-queue.md", nothing_more).await;
}

#[tokio::test]
async fn a_lock_that_fences() {
    try_page("recipes/fencing-lock.md", nothing_more).await;
}

#[tokio::test]
async fn a_secondary_index() {
    try_page("recipes/secondary-index.md", nothing_more).await;
}
