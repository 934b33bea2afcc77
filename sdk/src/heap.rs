//! The guest's allocator, for calls that are short and make small things: free blocks of one size
//! are a list, and taking one is a few instructions, where the standard library's allocator for
//! WebAssembly took a quarter of a guest's time. It begins in memory that the module has from the
//! start: for most entries an instance never grows it, which would be a call of the system.
//!
//! What this deliberately does not do: join free blocks, or give them to another size. An instance
//! lives for one entry or some queries. What is large is left to the standard library's allocator.
#![expect(unsafe_code, reason = "an allocator deals in raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// Sizes up to [`FINE_BYTES_MAX`] are multiples of it, and so are addresses.
const STEP_BYTES: usize = 16;
const FINE_BYTES_MAX: usize = 1024;
const FINE_LISTS: usize = FINE_BYTES_MAX / STEP_BYTES;
/// Beyond, sizes are powers of two: of 2, 4 and 8 KiB.
const COARSE_LISTS: usize = 3;
const BYTES_MAX: usize = FINE_BYTES_MAX << COARSE_LISTS;

/// What the first blocks are cut from, and how much is had at a time for more.
const ARENA_BYTES: usize = 32 * 1024;
/// How much later blocks begin for each page that the memory has. It moves with the memory's size,
/// so that a host that makes the memory larger finds out plugins that depend on addresses.
const SHIFT_BYTES: usize = 3 * STEP_BYTES;

#[global_allocator]
static HEAP: Heap = Heap {
    arena: UnsafeCell::new([0; ARENA_BYTES]),
    blocks: UnsafeCell::new(Blocks {
        free: [ptr::null_mut(); FINE_LISTS + COARSE_LISTS],
        next: ptr::null_mut(),
        left_bytes: 0,
    }),
};

/// All zero at first, so that it takes no room in the module.
#[repr(align(16))]
struct Heap {
    arena: UnsafeCell<[u8; ARENA_BYTES]>,
    blocks: UnsafeCell<Blocks>,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Heap {}

struct Blocks {
    /// For each size, the first free block, which holds the address of the next.
    free: [*mut u8; FINE_LISTS + COARSE_LISTS],
    /// What was never used; null before the first block.
    next: *mut u8,
    left_bytes: usize,
}

/// The list for blocks of that layout, and their size; `None` for what is not kept in lists.
const fn list_of(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size();
    if layout.align() > STEP_BYTES || size > BYTES_MAX || size == 0 {
        return None;
    }
    if size <= FINE_BYTES_MAX {
        let list = (size - 1) / STEP_BYTES;
        return Some((list, (list + 1) * STEP_BYTES));
    }
    let bytes = size.next_power_of_two();
    Some((FINE_LISTS + (bytes / FINE_BYTES_MAX).ilog2() as usize - 1, bytes))
}

impl Heap {
    /// A block that was never used, or null when there is no memory.
    #[cold]
    fn cut(&self, blocks: &mut Blocks, bytes: usize) -> *mut u8 {
        if blocks.next.is_null() {
            let shift = core::arch::wasm32::memory_size::<0>() * SHIFT_BYTES % (ARENA_BYTES / 2);
            blocks.next = self.arena.get().cast::<u8>().wrapping_add(shift);
            blocks.left_bytes = ARENA_BYTES - shift;
        }
        if blocks.left_bytes < bytes {
            let layout = const { Layout::from_size_align(ARENA_BYTES, STEP_BYTES) };
            let layout = layout.expect("it is a power of two");
            // SAFETY: the layout has a size.
            let chunk = unsafe { System.alloc(layout) };
            if chunk.is_null() {
                return chunk;
            }
            (blocks.next, blocks.left_bytes) = (chunk, ARENA_BYTES);
        }
        let block = blocks.next;
        blocks.next = block.wrapping_add(bytes);
        blocks.left_bytes -= bytes;
        block
    }
}

// SAFETY: a block is free or somebody's, never both, and as large as its list says.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((list, bytes)) = list_of(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: there is one thread, and nothing below calls back.
        let blocks = unsafe { &mut *self.blocks.get() };
        let block = blocks.free[list];
        if block.is_null() {
            return self.cut(blocks, bytes);
        }
        // SAFETY: a free block holds the address of the next.
        blocks.free[list] = unsafe { *block.cast() };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((list, _)) = list_of(layout) else {
            // SAFETY: it came from there, by the same layout.
            return unsafe { System.dealloc(block, layout) };
        };
        // SAFETY: as above; the block is as large as a pointer at least, and nobody's any more.
        unsafe {
            let first = &mut (&mut *self.blocks.get()).free[list];
            *block.cast() = *first;
            *first = block;
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if list_of(layout).is_none() {
            // SAFETY: as the caller promises. New memory is zero without being written.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as the caller promises.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block has that many bytes.
            unsafe { ptr::write_bytes(block, 0, layout.size()) }
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (old, new) = (list_of(layout), list_of(wanted));
        if old.is_none() && new.is_none() {
            // SAFETY: it came from there, by the same layout.
            return unsafe { System.realloc(block, layout, size) };
        }
        if old == new {
            return block;
        }
        // SAFETY: as the caller promises; the two do not overlap.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
