//! One runtime with one model and one completion queue, safely.
use crate::ffi::*;
use std::ffi::CStr;
use std::fmt;
use std::mem::size_of;
use std::ptr::{null, null_mut};

/// A failed call or request.
#[derive(Debug)]
pub struct Error {
    pub status: i32,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (status {})", self.message, self.status)
    }
}

impl std::error::Error for Error {}

/// Makes a Rust error and releases the C one.
fn take_error(status: tidegate_status, error: *mut tidegate_error) -> Error {
    // The message is never NULL, also for a NULL error.
    let text = unsafe { CStr::from_ptr(tidegate_error_message(error, null_mut())) };
    let message = text.to_string_lossy().into_owned();
    unsafe { tidegate_error_release(error) };
    Error { status, message }
}

/// Runs a call whose last parameter is the error.
fn call(function: impl FnOnce(*mut *mut tidegate_error) -> tidegate_status) -> Result<tidegate_status, Error> {
    let mut error = null_mut();
    match function(&mut error) {
        status if status < 0 => Err(take_error(status, error)),
        status => Ok(status),
    }
}

/// A JSON string of `text`.
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if (c as u32) < 0x20 => json.push_str(&format!("\\u{:04x}", c as u32)),
            c => json.push(c),
        }
    }
    json + "\""
}

/// Single consumer: not Sync, because draining belongs to one thread at a time.
pub struct Gate {
    runtime: *mut tidegate_runtime,
    cq: *mut tidegate_cq,
}

impl Gate {
    /// Loads the model of a folder; none = a synthetic model.
    pub fn open(folder: Option<&str>) -> Result<Gate, Error> {
        call(|err| unsafe { tidegate_require_abi(ABI_VERSION, err) })?;
        let mut gate = Gate { runtime: null_mut(), cq: null_mut() };
        call(|err| unsafe { tidegate_runtime_create(null(), &mut gate.runtime, err) })?;
        let json = match folder {
            Some(folder) => format!(r#"{{"name": "text", "kind": "encoder", "folder": {}}}"#, quoted(folder)),
            None => r#"{"name": "demo", "kind": "synthetic", "synthetic.dimension": 8}"#.to_string(),
        };
        call(|err| unsafe { tidegate_model_load(gate.runtime, json.as_ptr().cast(), json.len(), null_mut(), err) })?;
        call(|err| unsafe { tidegate_cq_create(gate.runtime, &mut gate.cq, err) })?;
        Ok(gate)
    }

    /// The vectors of all texts, in order.
    pub fn embed<S: AsRef<str>>(&mut self, texts: &[S]) -> Vec<Result<Vec<f32>, Error>> {
        let mut answers: Vec<Option<Result<Vec<f32>, Error>>> = Vec::new();
        answers.resize_with(texts.len(), || None);
        for (tag, text) in texts.iter().map(AsRef::as_ref).enumerate() {
            // The text is copied before the call returns.
            let submitted = call(|err| unsafe {
                tidegate_submit_text(
                    self.runtime,
                    null(),
                    text.as_ptr().cast(),
                    text.len(),
                    null(),
                    self.cq,
                    tag as u64,
                    null_mut(),
                    null_mut(),
                    err,
                )
            });
            if let Err(refused) = submitted {
                answers[tag] = Some(Err(refused));
            }
        }
        while answers.iter().any(Option::is_none) {
            self.drain(&mut answers);
        }
        answers.into_iter().flatten().collect()
    }

    /// Waits for completions and files them by tag.
    fn drain(&mut self, answers: &mut [Option<Result<Vec<f32>, Error>>]) {
        const BATCH: usize = 16;
        let empty = tidegate_completion {
            tag: 0,
            id: 0,
            kind: 0,
            status: 0,
            result: null_mut(),
            error: null_mut(),
            done_ns: 0,
            reserved: [0; 2],
        };
        let mut records = [empty; BATCH];
        let mut count = 0;
        unsafe {
            tidegate_cq_wait(self.cq, FOREVER);
            tidegate_cq_drain(self.cq, records.as_mut_ptr(), size_of::<tidegate_completion>(), BATCH, &mut count);
        }
        for record in &records[..count] {
            answers[record.tag as usize] = Some(if record.status == OK {
                take_vector(record.result)
            } else {
                Err(take_error(record.status, record.error))
            });
        }
    }

    /// Lets accepted requests finish for up to five seconds and ends the engine.
    pub fn close(self) -> Result<(), Error> {
        call(|err| unsafe { tidegate_runtime_shutdown(self.runtime, 5_000_000_000, err) }).map(|_| ())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Releasing NULL does nothing, so a half-made gate is fine.
        unsafe {
            tidegate_cq_release(self.cq);
            tidegate_runtime_release(self.runtime);
        }
    }
}

/// The numbers of a result's first output; releases the result.
fn take_vector(result: *mut tidegate_result) -> Result<Vec<f32>, Error> {
    let mut view = tidegate_tensor_view {
        struct_size: size_of::<tidegate_tensor_view>() as u32,
        dtype: 0,
        rank: 0,
        reserved: 0,
        shape: null(),
        data: null(),
        bytes: 0,
    };
    let vector = call(|err| unsafe { tidegate_result_output(result, 0, &mut view, err) }).map(|_| {
        let numbers = view.bytes as usize / size_of::<f32>();
        // Copied before the result, which owns the numbers, is released.
        (0..numbers).map(|i| unsafe { view.data.cast::<f32>().add(i).read() }).collect()
    });
    unsafe { tidegate_result_release(result) };
    vector
}
