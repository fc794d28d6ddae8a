//! Connections with time limits and a graceful end, which `axum::serve` does not offer.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::Request,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tower::Service;

/// A request whose head or body is not in by then is ended; so is a connection that asks nothing.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// What is in flight at a shutdown has this long to be answered.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(8);
/// After the last answer, what the client still sends is thrown away this long: closed at once, the connection would be
/// reset, and the answer lost.
const LINGER: Duration = Duration::from_secs(1);

/// How many connections may wait to be accepted. In a burst, one that finds no room is tried again only after seconds,
/// and `TcpListener::bind` has room for 128.
const BACKLOG: u32 = 4_096;

pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

pub(crate) async fn serve(listener: TcpListener, app: Router) {
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, as a rule: room comes when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let (seen, app) = (Arc::clone(&activity), app.clone());
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(|body| Body::new(InTime::new(body)));
            request.extensions_mut().insert(peer);
            let (in_flight, answer) = (seen.begin(), app.clone().call(request));
            async move {
                let answer = answer.await;
                drop(in_flight);
                answer.map_err(|never: Infallible| never)
            }
        });
        // No `header_read_timeout`: it would arm a timer for each request, and `idle` ends slow heads, too.
        let builder = Builder::new(TokioExecutor::new());
        let stream = Lingering { stream, activity: Arc::clone(&activity), until: None };
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                _ = connection => {}
                () = activity.idle() => {}
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(SHUTDOWN_LIMIT, graceful.shutdown()).await;
}

async fn stop_signal() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// How many requests a connection is being asked, and since when it is that many.
struct Activity(Mutex<(usize, Instant)>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }
}

impl Activity {
    fn change(&self, by: isize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_add_signed(by), Instant::now());
    }

    fn begin(self: &Arc<Self>) -> InFlight {
        self.change(1);
        InFlight(Arc::clone(self))
    }

    /// Waits until nothing was asked for as long as a request may take to come in.
    async fn idle(&self) {
        loop {
            let (in_flight, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let end = since + REQUEST_LIMIT;
            if in_flight > 0 {
                sleep(REQUEST_LIMIT).await;
            } else if Instant::now() < end {
                sleep_until(end).await;
            } else {
                return;
            }
        }
    }
}

struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.change(-1);
    }
}

/// A request body that must be in before a deadline.
struct InTime {
    body: hyper::body::Incoming,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl InTime {
    fn new(body: hyper::body::Incoming) -> Self {
        Self { body, deadline: Instant::now() + REQUEST_LIMIT, timer: None }
    }
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        // Most bodies are there at once, or empty, and need no timer.
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err("the body was not in after 10 seconds".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that, once its answer is out, reads what still comes before it closes.
struct Lingering {
    stream: TcpStream,
    activity: Arc<Activity>,
    until: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    /// A client that takes its answer, however slowly, is not idle.
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.activity.change(0);
        }
        written
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.until.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.until = Some(Box::pin(sleep(LINGER)));
        }
        let mut scratch = [0; 4096];
        loop {
            if let Some(until) = &mut self.until
                && until.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
