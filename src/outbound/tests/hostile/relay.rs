//! A real server's handshake, up to one of its messages.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// The content type of a TLS record with handshake messages.
pub(super) const HANDSHAKE: u8 = 22;

/// One TLS record: its header and what it holds.
pub(super) async fn read_record(stream: &mut (impl AsyncRead + Unpin)) -> Option<([u8; 5], Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.ok()?;
    let mut content = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    stream.read_exact(&mut content).await.ok()?;
    Some((header, content))
}

/// Has a real server do its handshake over `tcp`, until so many of its messages
/// have gone to the client. A record with several that can be read is taken apart.
pub(super) async fn relay(acceptor: TlsAcceptor, tcp: &mut TcpStream, messages: usize) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut from_server, mut to_server) = tokio::io::split(near);
    let (mut from_client, mut to_client) = tcp.split();
    let server = async {
        let _stream = acceptor.accept(far).await;
        std::future::pending::<()>().await;
    };
    let there = async {
        let _ended = tokio::io::copy(&mut from_client, &mut to_server).await;
        std::future::pending::<()>().await;
    };
    let back = async {
        let mut left = messages;
        // The server's messages are in the clear up to its ChangeCipherSpec.
        let mut clear = true;
        loop {
            let Some((header, content)) = read_record(&mut from_server).await else { return };
            clear &= header[0] == HANDSHAKE;
            let mut rest = content.as_slice();
            while left > 0 && !rest.is_empty() {
                let length = if clear {
                    4 + usize::from(rest[1]) * 65_536 + usize::from(u16::from_be_bytes([rest[2], rest[3]]))
                } else {
                    rest.len()
                };
                let (message, after) = rest.split_at(length);
                let size = u16::try_from(length).unwrap().to_be_bytes();
                let record = [&header[..3], &size, message].concat();
                if to_client.write_all(&record).await.is_err() {
                    return;
                }
                (rest, left) = (after, left - 1);
            }
            if left == 0 {
                return;
            }
        }
    };
    tokio::select! { () = back => {}, () = server => {}, () = there => {} }
}
