//! Says where libtidegate.so.1 is: TIDEGATE_LIB_DIR, else the linker's own path.
fn main() {
    println!("cargo:rerun-if-env-changed=TIDEGATE_LIB_DIR");
    println!("cargo:rustc-link-lib=dylib=tidegate");
    if let Ok(folder) = std::env::var("TIDEGATE_LIB_DIR") {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
