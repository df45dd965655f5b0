//! The owner-only socket behind `tandem health`.
//!
//! Access is the file's mode (0600) and, since a directory may have been shared by mistake, the peer's
//! user as the kernel tells it. The socket gets its mode under a temporary name before it is moved to its
//! own, so at no moment can others connect.

use std::fs::Permissions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net as blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::health::{Answer, Reached, place_line, to_json};
use crate::plane::Plane;

/// Questions answered at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8;

/// Longest a question and its answer may take.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(5);

/// Longest question, in bytes.
const QUESTION_BYTES_MAX: usize = 64;

/// Rest after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket. Its file is removed when it is dropped, unless another server has taken the name.
pub(crate) struct HealthSocket {
    listener: UnixListener,
    owner: u32,
    _file: SocketFile,
}

struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl HealthSocket {
    /// Makes the socket, replacing one whose server is gone. Needs a runtime around it.
    pub(crate) fn bind(path: &Path) -> io::Result<HealthSocket> {
        let reached = Reached::new(path)?;
        refuse_if_in_use(&reached.path)?;
        let mut temporary = reached.path.clone().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        debug_assert!(temporary.as_os_str().as_bytes().len() < 108, "the kernel's limit");
        remove_if_there(&temporary)?;
        let listener = blocking::UnixListener::bind(&temporary)?;
        std::fs::set_permissions(&temporary, Permissions::from_mode(0o600))?;
        let metadata = std::fs::metadata(&temporary)?;
        if let Err(error) = std::fs::rename(&temporary, &reached.path) {
            remove_if_there(&temporary)?;
            return Err(error);
        }
        listener.set_nonblocking(true)?;
        Ok(HealthSocket {
            listener: UnixListener::from_std(listener)?,
            owner: metadata.uid(),
            _file: SocketFile { path: path.to_owned(), inode: metadata.ino() },
        })
    }

    /// Answers until the runtime ends.
    pub(crate) async fn serve(self, plane: Arc<Plane>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == self.owner || peer.uid() == 0);
            if !allowed {
                continue;
            }
            let plane = Arc::clone(&plane);
            tokio::spawn(async move {
                // A peer that goes away or dawdles has only itself to inform.
                let _ = timeout(CONNECTION_PATIENCE, answer(stream, &plane)).await;
                drop(place);
            });
        }
    }
}

async fn answer(mut stream: UnixStream, plane: &Plane) -> io::Result<()> {
    let mut question = [0; QUESTION_BYTES_MAX];
    let mut length = 0;
    while !question[..length].contains(&b'\n') {
        match stream.read(&mut question[length..]).await? {
            0 => break,
            count => length += count,
        }
    }
    let question = question[..length].split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut line = match question.trim_ascii() {
        b"health" => Answer::of(&plane.health().await).to_line(),
        b"json" => to_json(&plane.health().await),
        b"place" => place_line(plane.call(|instance| instance.place()).await.flatten()),
        _ => "ERROR ask for health, json or place".to_owned(),
    };
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await
}

fn refuse_if_in_use(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is in its place"))
        }
        Ok(_) if blocking::UnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there"))
        }
        Ok(_) => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if ours {
            // A socket file that stays is replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
