//! Declarations of the part of tidegate.h that embedding texts needs.
#![allow(non_camel_case_types)]
use std::os::raw::{c_char, c_void};

pub type tidegate_status = i32;
pub const OK: tidegate_status = 0;
pub const ABI_VERSION: u32 = 1 << 16;
/// A time-out that never passes.
pub const FOREVER: i64 = i64::MAX;

macro_rules! opaque {
    ($($name:ident),*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
}
opaque!(tidegate_error, tidegate_runtime, tidegate_model, tidegate_cq, tidegate_result, tidegate_config);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct tidegate_completion {
    pub tag: u64,
    pub id: u64,
    pub kind: i32,
    pub status: tidegate_status,
    pub result: *mut tidegate_result,
    pub error: *mut tidegate_error,
    pub done_ns: i64,
    pub reserved: [u64; 2],
}

#[repr(C)]
pub struct tidegate_tensor_view {
    pub struct_size: u32,
    pub dtype: i32,
    pub rank: u32,
    pub reserved: u32,
    pub shape: *const i64,
    pub data: *const c_void,
    pub bytes: u64,
}

#[repr(C)]
pub struct tidegate_request_options {
    pub struct_size: u32,
    pub flags: u32,
    pub timeout_ns: i64,
    pub deadline_ns: i64,
    pub cache: i32,
    pub priority: i32,
    pub tenant: *const c_char,
    pub tenant_length: usize,
}

// The layouts of ABI 1.0.
const _: () = assert!(std::mem::size_of::<tidegate_completion>() == 64);
const _: () = assert!(std::mem::size_of::<tidegate_tensor_view>() == 40);
const _: () = assert!(std::mem::size_of::<tidegate_request_options>() == 48);

extern "C" {
    pub fn tidegate_require_abi(version: u32, err: *mut *mut tidegate_error) -> tidegate_status;
    pub fn tidegate_error_message(error: *const tidegate_error, length: *mut usize) -> *const c_char;
    pub fn tidegate_error_release(error: *mut tidegate_error);
    pub fn tidegate_runtime_create(
        config: *const tidegate_config,
        runtime: *mut *mut tidegate_runtime,
        err: *mut *mut tidegate_error,
    ) -> tidegate_status;
    pub fn tidegate_runtime_shutdown(
        runtime: *mut tidegate_runtime,
        timeout_ns: i64,
        err: *mut *mut tidegate_error,
    ) -> tidegate_status;
    pub fn tidegate_runtime_release(runtime: *mut tidegate_runtime);
    pub fn tidegate_model_load(
        runtime: *mut tidegate_runtime,
        json: *const c_char,
        length: usize,
        model: *mut *mut tidegate_model,
        err: *mut *mut tidegate_error,
    ) -> tidegate_status;
    pub fn tidegate_cq_create(
        runtime: *mut tidegate_runtime,
        cq: *mut *mut tidegate_cq,
        err: *mut *mut tidegate_error,
    ) -> tidegate_status;
    pub fn tidegate_cq_drain(
        cq: *mut tidegate_cq,
        records: *mut tidegate_completion,
        stride: usize,
        max: usize,
        count: *mut usize,
    ) -> tidegate_status;
    pub fn tidegate_cq_wait(cq: *mut tidegate_cq, timeout_ns: i64) -> tidegate_status;
    pub fn tidegate_cq_release(cq: *mut tidegate_cq);
    pub fn tidegate_submit_text(
        runtime: *mut tidegate_runtime,
        model: *const tidegate_model,
        text: *const c_char,
        length: usize,
        options: *const tidegate_request_options,
        cq: *mut tidegate_cq,
        tag: u64,
        id: *mut u64,
        result: *mut *mut tidegate_result,
        err: *mut *mut tidegate_error,
    ) -> tidegate_status;
    pub fn tidegate_result_output(
        result: *const tidegate_result,
        index: u32,
        view: *mut tidegate_tensor_view,
        err: *mut *mut tidegate_error,
    ) -> tidegate_status;
    pub fn tidegate_result_release(result: *mut tidegate_result);
}
