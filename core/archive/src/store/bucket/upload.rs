//! An object on its way into a bucket.

use std::io::{self, Write};
use std::time::Duration;

use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::super::{TEMP, Upload, random_hex};
use super::Inner;

/// Bytes of a part, which is held in memory. S3 wants 5 MiB at least, and some services that all parts but the last have one size.
pub(super) const PART_BYTES: usize = 8 << 20;
/// The most parts that S3 puts together: 78 GiB as they lie there.
const PARTS_MAX: usize = 10_000;
/// What an upload that is given up waits for, seconds: what is not ended by then is swept later.
const END_S_MAX: u64 = 5;

/// What tells of an upload in parts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The object's name in the repository.
    pub(super) name: String,
    /// The service's name for the upload.
    pub(super) upload: String,
}

/// An object that is being written.
pub(super) struct BucketUpload<'a> {
    inner: &'a Inner,
    name: String,
    path: Path,
    /// What is not put yet, a part at most.
    buffer: Vec<u8>,
    /// What is larger than a part.
    parts: Option<Parts>,
}

struct Parts {
    upload: String,
    mark: Path,
    put: Vec<PartId>,
}

impl<'a> BucketUpload<'a> {
    pub(super) fn new(inner: &'a Inner, name: &str) -> BucketUpload<'a> {
        BucketUpload { inner, name: name.to_owned(), path: inner.path(name), buffer: Vec::new(), parts: None }
    }

    fn begin_parts(&self) -> io::Result<Parts> {
        let Inner { service, .. } = self.inner;
        let upload = self.inner.wait(service.create_multipart(&self.path))?;
        let mark = self.inner.path(&format!("{TEMP}{}", random_hex()?));
        let told = serde_json::to_vec(&Mark { name: self.name.clone(), upload: upload.clone() })?;
        let parts = Parts { upload, mark, put: Vec::new() };
        let marked = self.inner.wait(service.put(&parts.mark, told.into()));
        if let Err(error) = marked {
            self.end(&parts);
            return Err(error);
        }
        Ok(parts)
    }

    fn put_part(&mut self) -> io::Result<()> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => self.begin_parts()?,
        };
        let bytes = PutPayload::from(std::mem::take(&mut self.buffer));
        let (service, at) = (&self.inner.service, parts.put.len());
        let part = if at < PARTS_MAX {
            self.inner.wait(service.put_part(&self.path, &parts.upload, at, bytes))
        } else {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than what object stores take"))
        };
        let put = part.map(|part| parts.put.push(part));
        self.parts = Some(parts);
        put
    }

    /// Ends an upload of which nothing is to be.
    fn end(&self, parts: &Parts) {
        let work = async {
            self.inner.service.abort_multipart(&self.path, &parts.upload).await?;
            self.inner.service.delete(&parts.mark).await
        };
        let bounded = async { tokio::time::timeout(Duration::from_secs(END_S_MAX), work).await };
        // What is left is swept by its mark.
        let _ = self.inner.runtime.block_on(bounded);
    }
}

impl Write for BucketUpload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What fills a part may be all.
        if self.buffer.len() == PART_BYTES && !bytes.is_empty() {
            self.put_part()?;
        }
        let count = bytes.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for BucketUpload<'_> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.inner.wait(self.inner.try_to_put_twice())?;
        if self.parts.is_none() {
            let bytes = PutPayload::from(std::mem::take(&mut self.buffer));
            return self.inner.wait(self.inner.create(&self.path, &bytes));
        }
        self.put_part()?;
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let (service, put) = (&self.inner.service, std::mem::take(&mut parts.put));
        self.inner.wait(service.complete_multipart(&self.path, &parts.upload, put))?;
        let mark = parts.mark.clone();
        self.parts = None;
        // One that stays tells of nothing, and is swept.
        self.inner.wait(service.delete(&mark)).unwrap_or_default();
        Ok(())
    }
}

impl Drop for BucketUpload<'_> {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.end(&parts);
        }
    }
}
