//! The bytes of a connection whose peer is heard to its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Lets what the peer refuses to take pass for written. It has closed then, and its end is read soon; but before that, what
/// it had said: the rest of answers, and which requests it never looked at. h2 would fail all streams at once instead.
#[derive(Debug)]
pub(super) struct Heard<T>(pub(super) T);

fn forgive<V>(result: io::Result<V>, all: V) -> io::Result<V> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(all),
        result => result,
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.0).poll_write(context, bytes));
        Poll::Ready(forgive(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.0).poll_write_vectored(context, pieces));
        Poll::Ready(forgive(result, pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.0).poll_flush(context));
        Poll::Ready(forgive(result, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A peer answers, and closes while something of ours is on its way to it: the kernel refuses the next write.
    #[tokio::test]
    async fn what_a_peer_said_before_it_closed_is_heard_though_it_takes_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut ours = Heard(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(b"the answer").await.unwrap();
        drop(peer);
        for _ in 0..3 {
            ours.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut heard = String::new();
        ours.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "the answer");
    }
}
