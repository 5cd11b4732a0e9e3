//! A real name server on the loopback interface, by UDP and TCP, that answers as a test says.
//!
//! ```text
//! says(name, [first, then, …]) ─> each question for a type of record gets the next reply, and then the last
//! ```
//!
//! No answer may be kept: each has a time to live of 0.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What is said to one question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Those of the type that was asked for, which may be none.
    Addresses(Vec<IpAddr>),
    /// Another name; what it leads to is to be asked for.
    Alias(String),
    /// Another name, and its addresses in the same answer.
    AliasWith(String, Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// Nothing at all.
    Silence,
    /// What is no message of DNS.
    Garbage,
}

impl Reply {
    /// Addresses, with spaces between.
    pub fn addresses(text: &str) -> Self {
        Self::Addresses(text.split_whitespace().map(|address| address.parse().unwrap()).collect())
    }
}

/// Serves until it is dropped.
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Zone {
    replies: HashMap<String, Vec<Reply>>,
    asked: HashMap<(String, RecordType), usize>,
}

impl NameServer {
    /// One that knows no name.
    pub async fn start() -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve_udp(udp, zone.clone()));
        serving.spawn(serve_tcp(tcp, zone.clone()));
        Self { address, zone, _serving: serving }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of a name from now on, question by question; the last reply is said again and again.
    pub fn says(&self, name: &str, replies: impl IntoIterator<Item = Reply>) {
        let mut zone = locked(&self.zone);
        zone.asked.retain(|(asked, _), _| asked != name);
        zone.replies.insert(name.to_owned(), replies.into_iter().collect());
    }

    /// How often it was asked for this name since it was told what to say of it, or at all.
    pub fn asked(&self, name: &str) -> usize {
        let zone = locked(&self.zone);
        zone.asked.iter().filter(|((asked, _), _)| asked == name).map(|(_, times)| times).sum()
    }

    /// How often it was asked anything.
    pub fn asked_at_all(&self) -> usize {
        locked(&self.zone).asked.values().sum()
    }
}

impl Zone {
    fn reply(&mut self, query: &Query) -> Reply {
        let name = text(query.name());
        let asked = self.asked.entry((name.clone(), query.query_type())).or_default();
        let number = std::mem::replace(asked, *asked + 1);
        let replies = self.replies.get(&name).map(Vec::as_slice).unwrap_or_default();
        replies.get(number).or(replies.last()).cloned().unwrap_or(Reply::NoSuchName)
    }

    /// The message to send back, if there is one.
    fn answer(&mut self, question: &[u8]) -> Option<Answer> {
        let question = Message::from_vec(question).ok()?;
        let query = question.queries.first()?.clone();
        let mut message = Message::response(question.metadata.id, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        let (name, kind) = (query.name().clone(), query.query_type());
        let reply = self.reply(&query);
        message.add_query(query);
        match reply {
            Reply::Addresses(addresses) => {
                message.add_answers(records(&name, kind, &addresses));
            }
            Reply::Alias(target) => {
                message.add_answer(alias(name, &target));
            }
            Reply::AliasWith(target, addresses) => {
                message.add_answer(alias(name, &target));
                message.add_answers(records(&parse(&target), kind, &addresses));
            }
            Reply::NoSuchName => message.metadata.response_code = ResponseCode::NXDomain,
            Reply::Failure => message.metadata.response_code = ResponseCode::ServFail,
            Reply::Silence => return None,
            Reply::Garbage => return Some(Answer::Garbage),
        }
        Some(Answer::Message(Box::new(message)))
    }
}

enum Answer {
    Message(Box<Message>),
    Garbage,
}

impl Answer {
    fn bytes(&self, most: usize) -> Vec<u8> {
        match self {
            Self::Message(message) => {
                let whole = message.to_vec().unwrap();
                if whole.len() <= most { whole } else { message.truncate().to_vec().unwrap() }
            }
            Self::Garbage => b"this is no message of DNS".to_vec(),
        }
    }
}

fn records(name: &Name, kind: RecordType, addresses: &[IpAddr]) -> Vec<Record> {
    let data = addresses.iter().filter_map(|address| match (address, kind) {
        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(*v4))),
        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(*v6))),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
    });
    data.map(|data| Record::from_rdata(name.clone(), 0, data)).collect()
}

fn alias(name: Name, target: &str) -> Record {
    Record::from_rdata(name, 0, RData::CNAME(CNAME(parse(target))))
}

fn parse(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

/// In lower case, without the last dot.
fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn locked(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both on one port.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // Another test may have the port of the same number.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let answer = locked(&zone).answer(&buffer[..length]);
        if let Some(answer) = answer {
            // Who asked may have gone.
            drop(socket.send_to(&answer.bytes(512), from).await);
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut serving = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let zone = zone.clone();
        serving.spawn(async move { drop(serve_stream(stream, &zone).await) });
    }
}

async fn serve_stream(mut stream: TcpStream, zone: &Mutex<Zone>) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        let answer = locked(zone).answer(&question);
        if let Some(answer) = answer {
            let bytes = answer.bytes(usize::from(u16::MAX));
            stream.write_u16(u16::try_from(bytes.len()).unwrap()).await?;
            stream.write_all(&bytes).await?;
        }
    }
}
