//! The operation log that `disk.c` writes.

/// What was done, to a path below the folder or by a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file or directory was opened, and made if it was not there.
    Open { fd: i32, path: String, created: bool, directory: bool },
    /// A descriptor was closed.
    Close { fd: i32 },
    /// Bytes were written.
    Write { fd: i32, at: u64, bytes: Vec<u8> },
    /// A file was cut or made longer.
    Truncate { fd: i32, length: u64 },
    /// A file was made longer, if it was not.
    Allocate { fd: i32, length: u64 },
    /// A file got another name.
    Rename { from: String, to: String },
    /// A file's name went.
    Unlink { path: String },
    /// A directory's name went.
    Rmdir { path: String },
    /// A directory was made.
    Mkdir { path: String },
    /// What was done before the operation number `began` was made durable, unless it failed.
    Sync { fd: i32, began: usize, failed: bool },
    /// A descriptor has another number as well.
    Dup { fd: i32, other: i32 },
}

/// Reads a log. The last record may be cut short, by a kill.
pub fn read(mut bytes: &[u8]) -> Vec<Op> {
    let mut ops = Vec::new();
    while let Some((op, rest)) = one(bytes) {
        ops.push(op);
        bytes = rest;
    }
    ops
}

fn one(bytes: &[u8]) -> Option<(Op, &[u8])> {
    let (head, rest) = bytes.split_at_checked(24)?;
    let short = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let int = |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (kind, flags, fd) = (head[0], head[1], int(8));
    let number = u64::from_ne_bytes(*head.last_chunk().expect("24 bytes"));
    let (path, rest) = rest.split_at_checked(usize::from(short(2)))?;
    let (to, rest) = rest.split_at_checked(usize::from(short(4)))?;
    let (data, rest) = rest.split_at_checked(usize::try_from(int(12)).expect("a length"))?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a path in UTF-8");
    let path = text(path);
    let op = match kind {
        1 => Op::Open { fd, path, created: flags & 1 != 0, directory: flags & 2 != 0 },
        2 => Op::Close { fd },
        3 => Op::Write { fd, at: number, bytes: data.to_vec() },
        4 => Op::Truncate { fd, length: number },
        5 => Op::Rename { from: path, to: text(to) },
        6 => Op::Unlink { path },
        7 => Op::Rmdir { path },
        8 => Op::Mkdir { path },
        9 => Op::Sync { fd, began: usize::try_from(number).expect("a count"), failed: short(6) != 0 },
        10 => Op::Dup { fd, other: i32::try_from(number).expect("a descriptor") },
        11 => Op::Allocate { fd, length: number },
        other => panic!("no operation has number {other}"),
    };
    Some((op, rest))
}
