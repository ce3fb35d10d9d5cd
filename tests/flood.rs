//! A million distinct statements: what is remembered of them stays within its limit, in bytes. A program of its own, because the
//! allocator that counts live bytes is global.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tidegate::sql::{DigestScratch, LexMode, LocalStatements, StatementCache};

struct Counting;

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TEXTS: u32 = 1_000_000;
const ENTRIES_MAX: u64 = 2_000;
/// Two caches of as many ordinary statements (4 KiB each), and moka's own tables.
const LIVE_BYTES_MAX: i64 = 2 * ENTRIES_MAX as i64 * 4096 + (8 << 20);

/// The text with this number: each has a digest of its own. One in fifty is parsed into a tree, the rest is cheap to know.
fn write_text(text: &mut String, number: u32) {
    text.clear();
    let written = match number % 50 {
        0 => write!(
            text,
            "SELECT a{number}, SUM(b) FROM t WHERE c IN (1, 2, 3) AND d = 'x' GROUP BY a{number}"
        ),
        1 => write!(
            text,
            "SELECT a FROM t{number} JOIN u USING (k) WHERE b = {number}"
        ),
        2 => write!(
            text,
            "SELECT {number} AS `column {number}`{:1$}",
            "",
            (number % 3_000) as usize
        ),
        3 => write!(text, "INSERT INTO t{number} VALUES (1, 2), (3, {number})"),
        4..10 => write!(text, "SELECT 'not closed {number}, x{number}, \"y"),
        10..20 => write!(text, "SELECT a; DROP TABLE t{number}"),
        20..30 => write!(text, "SET @@x{number} = 1"),
        _ => write!(text, "WORD{number} {number}"),
    };
    written.expect("a String takes everything");
}

#[test]
fn a_million_digests_take_no_more_memory_than_the_limit() {
    let shared = StatementCache::new(ENTRIES_MAX);
    let mut local = LocalStatements::new(shared.clone(), ENTRIES_MAX as usize);
    let mut scratch = DigestScratch::new(2048);
    let mut text = String::new();
    let start = LIVE_BYTES.load(Relaxed);
    let mut most = 0;
    for number in 0..TEXTS {
        write_text(&mut text, number);
        scratch.run(text.as_bytes(), LexMode::default());
        local.get(&scratch, text.as_bytes());
        if number % 10_000 == 0 {
            shared.settle();
            most = most.max(LIVE_BYTES.load(Relaxed) - start);
            assert!(most <= LIVE_BYTES_MAX, "{most} bytes after {number} texts");
            assert!(shared.len() <= ENTRIES_MAX && local.len() as u64 <= ENTRIES_MAX + 1);
        }
    }
    println!("{TEXTS} distinct texts: at most {most} bytes of statements, limit {LIVE_BYTES_MAX}");
    // It ends: nothing keeps what the caches gave up.
    drop((shared, local, scratch, text));
    let left = LIVE_BYTES.load(Relaxed) - start;
    assert!(left < 1 << 20, "{left} bytes are left");
}
