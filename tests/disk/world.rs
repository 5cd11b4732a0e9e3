//! What a disk may hold after a power cut, from an operation log.
//!
//! ```text
//! directory = names that were fsynced  + changes since: any number of the first ones
//! file      = content that was fsynced + writes since:  none, the first ones, or any; the last one torn
//! ```
//!
//! **Pessimistic, as POSIX lets a disk be**: an fsync of a file says nothing
//! about its name, and an fsync that failed makes what was written before it
//! look clean: it stays visible to the process, and no later fsync writes it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write as _};
use std::path::Path;

use super::Dice;
use super::log::Op;

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing: the process was killed, the machine goes on.
    Killed,
    /// All that was not fsynced.
    Everything,
    /// All names that were not fsynced; written bytes are there.
    Names,
    /// All bytes that were not fsynced; the names are there.
    Bytes,
    /// By chance, from this seed.
    Chance(u64),
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// Without the zeros at the end.
    bytes: Vec<u8>,
    length: u64,
}

#[derive(Clone, Debug)]
enum Edit {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Add(String, usize),
    Remove(String),
    Rename { from: String, to: String },
}

type Names = BTreeMap<String, usize>;

#[derive(Debug)]
enum Node {
    File { durable: Content, visible: Content, pending: Vec<(usize, Edit)> },
    Directory { durable: Names, visible: Names, pending: Vec<(usize, Change)> },
}

/// All that is and was in the folder.
#[derive(Debug)]
pub struct World {
    nodes: Vec<Node>,
    descriptors: HashMap<i32, usize>,
    applied: usize,
}

impl Content {
    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Write { at, bytes } => {
                let at = usize::try_from(*at).expect("an offset");
                let end = at + bytes.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[at..end].copy_from_slice(bytes);
                self.length = self.length.max(end as u64);
            }
            Edit::Length(length) => {
                self.bytes.truncate(usize::try_from(*length).expect("a length"));
                self.length = *length;
            }
        }
    }
}

fn change(names: &mut Names, change: &Change) {
    match change {
        Change::Add(name, node) => drop(names.insert(name.clone(), *node)),
        Change::Remove(name) => drop(names.remove(name)),
        Change::Rename { from, to } => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl World {
    /// An empty folder.
    pub fn new() -> Self {
        let root = Node::Directory { durable: Names::new(), visible: Names::new(), pending: Vec::new() };
        Self { nodes: vec![root], descriptors: HashMap::new(), applied: 0 }
    }

    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|part| !part.is_empty()).try_fold(0, |node, name| match &self.nodes[node] {
            Node::Directory { visible, .. } => visible.get(name).copied(),
            Node::File { .. } => None,
        })
    }

    fn change(&mut self, folder: &str, what: Change) {
        let node = self.find(folder).unwrap_or_else(|| panic!("{folder} is not known"));
        let Node::Directory { visible, pending, .. } = &mut self.nodes[node] else {
            panic!("{folder} is no directory")
        };
        change(visible, &what);
        pending.push((self.applied, what));
    }

    fn add(&mut self, path: &str, node: Node) {
        self.nodes.push(node);
        let (folder, name) = split(path);
        self.change(folder, Change::Add(name.to_owned(), self.nodes.len() - 1));
    }

    fn edit(&mut self, fd: i32, edit: Edit) {
        let node = self.descriptors[&fd];
        let Node::File { visible, pending, .. } = &mut self.nodes[node] else { panic!("{fd} is no file") };
        visible.apply(&edit);
        pending.push((self.applied, edit));
    }

    /// Carries out the next operation of the log.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Open { fd, path, created, .. } => {
                if *created {
                    let (durable, visible) = Default::default();
                    self.add(path, Node::File { durable, visible, pending: Vec::new() });
                }
                let node = self.find(path).unwrap_or_else(|| panic!("{path} is not known"));
                self.descriptors.insert(*fd, node);
            }
            Op::Close { fd } => drop(self.descriptors.remove(fd)),
            Op::Dup { fd, other } => drop(self.descriptors.insert(*other, self.descriptors[fd])),
            Op::Write { fd, at, bytes } => self.edit(*fd, Edit::Write { at: *at, bytes: bytes.clone() }),
            Op::Truncate { fd, length } => self.edit(*fd, Edit::Length(*length)),
            Op::Allocate { fd, length } => {
                let Node::File { visible, .. } = &self.nodes[self.descriptors[fd]] else { return };
                if visible.length < *length {
                    self.edit(*fd, Edit::Length(*length));
                }
            }
            Op::Rename { from, to } => {
                let ((folder, from), (other, to)) = (split(from), split(to));
                assert_eq!(folder, other, "a rename to another folder is not known");
                self.change(folder, Change::Rename { from: from.to_owned(), to: to.to_owned() });
            }
            Op::Unlink { path } | Op::Rmdir { path } => {
                let (folder, name) = split(path);
                self.change(folder, Change::Remove(name.to_owned()));
            }
            Op::Mkdir { path } => {
                let (durable, visible) = Default::default();
                self.add(path, Node::Directory { durable, visible, pending: Vec::new() });
            }
            Op::Sync { fd, began, failed } => self.sync(*fd, *began, *failed),
        }
        self.applied += 1;
    }

    fn sync(&mut self, fd: i32, began: usize, failed: bool) {
        match &mut self.nodes[self.descriptors[&fd]] {
            Node::File { durable, pending, .. } => {
                let later = pending.split_off(pending.partition_point(|(at, _)| *at < began));
                for (_, edit) in std::mem::replace(pending, later) {
                    if !failed {
                        durable.apply(&edit);
                    }
                }
            }
            Node::Directory { durable, pending, .. } => {
                let later = pending.split_off(pending.partition_point(|(at, _)| *at < began));
                for (_, what) in std::mem::replace(pending, later) {
                    if !failed {
                        change(durable, &what);
                    }
                }
            }
        }
    }

    /// What the process saw in a file.
    pub fn text(&self, path: &str) -> String {
        match self.find(path).map(|node| &self.nodes[node]) {
            Some(Node::File { visible, .. }) => String::from_utf8_lossy(&visible.bytes).into_owned(),
            Some(Node::Directory { .. }) | None => String::new(),
        }
    }

    /// Writes the folder as the crash leaves it.
    pub fn write(&self, crash: Crash, to: &Path) -> io::Result<()> {
        let mut dice = Dice(if let Crash::Chance(seed) = crash { seed } else { 0 });
        self.write_node(0, crash, &mut dice, to)
    }

    fn write_node(&self, node: usize, crash: Crash, dice: &mut Dice, to: &Path) -> io::Result<()> {
        match &self.nodes[node] {
            Node::File { durable, visible, pending } => {
                let content = match crash {
                    Crash::Killed => visible.clone(),
                    Crash::Everything | Crash::Bytes => durable.clone(),
                    Crash::Names => kept(durable, pending, pending.len(), |_| true, None),
                    Crash::Chance(_) => by_chance(durable, pending, dice),
                };
                let file = std::fs::File::create(to)?;
                (&file).write_all(&content.bytes)?;
                file.set_len(content.length)
            }
            Node::Directory { durable, visible, pending } => {
                let names = match crash {
                    Crash::Killed => visible.clone(),
                    Crash::Everything | Crash::Names => durable.clone(),
                    Crash::Bytes | Crash::Chance(_) => {
                        let first =
                            if crash == Crash::Bytes { pending.len() } else { dice.below(pending.len() + 1) };
                        let mut names = durable.clone();
                        pending.iter().take(first).for_each(|(_, what)| change(&mut names, what));
                        names
                    }
                };
                std::fs::create_dir_all(to)?;
                names
                    .into_iter()
                    .try_for_each(|(name, node)| self.write_node(node, crash, dice, &to.join(name)))
            }
        }
    }
}

fn kept(
    durable: &Content,
    pending: &[(usize, Edit)],
    first: usize,
    mut keep: impl FnMut(usize) -> bool,
    torn: Option<u64>,
) -> Content {
    let mut content = durable.clone();
    let chosen: Vec<_> = (0..first).filter(|i| keep(*i)).collect();
    for i in &chosen {
        match (&pending[*i].1, torn) {
            (Edit::Write { at, bytes }, Some(bits)) if Some(i) == chosen.last() => {
                let cut = usize::try_from(bits % (bytes.len() as u64 + 1)).expect("an offset");
                content.apply(&Edit::Write { at: *at, bytes: bytes[..cut].to_vec() });
            }
            (edit, _) => content.apply(edit),
        }
    }
    content
}

fn by_chance(durable: &Content, pending: &[(usize, Edit)], dice: &mut Dice) -> Content {
    let torn = (dice.below(2) == 0).then(|| dice.roll());
    match dice.below(3) {
        0 => durable.clone(),
        1 => kept(durable, pending, dice.below(pending.len() + 1), |_| true, torn),
        _ => kept(durable, pending, pending.len(), |_| dice.below(2) == 0, torn),
    }
}

/// Fails where two folders differ.
pub fn assert_equal(one: &Path, other: &Path) {
    let list = |path: &Path| -> BTreeMap<String, std::path::PathBuf> {
        std::fs::read_dir(path)
            .expect("a folder")
            .map(|entry| entry.expect("readable"))
            .map(|entry| (entry.file_name().into_string().expect("UTF-8"), entry.path()))
            .collect()
    };
    let (here, there) = (list(one), list(other));
    assert_eq!(here.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>(), "in {}", one.display());
    for (name, path) in &here {
        if path.is_dir() {
            assert_equal(path, &there[name]);
        } else {
            let same =
                std::fs::read(path).expect("readable") == std::fs::read(&there[name]).expect("readable");
            assert!(same, "{} differs", path.display());
        }
    }
}
