//! Embeds texts through Tidegate's C ABI.
//!
//!     embed [--model FOLDER] [TEXT...]
//!
//! Without a model folder a synthetic model answers. Exit status: 0 all answered,
//! 1 a text failed, 2 wrong use or no model.
mod ffi;
mod gate;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut folder = None;
    if arguments.len() >= 2 && arguments[0] == "--model" {
        folder = Some(arguments.remove(1));
        arguments.remove(0);
    }
    if arguments.first().map_or(false, |first| first.starts_with('-')) {
        eprintln!("usage: embed [--model FOLDER] [TEXT...]");
        return ExitCode::from(2);
    }
    if arguments.is_empty() {
        arguments = ["The cat sat on the mat.", "A feline rested on the rug.", "42"].map(String::from).to_vec();
    }
    let mut gate = match gate::Gate::open(folder.as_deref()) {
        Ok(gate) => gate,
        Err(failure) => {
            eprintln!("embed: {failure}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for (text, answer) in arguments.iter().zip(gate.embed(&arguments)) {
        match answer {
            Ok(vector) => {
                let first: Vec<String> = vector.iter().take(4).map(|x| format!("{x:.5}")).collect();
                println!("{text}: {} numbers: {} ...", vector.len(), first.join(" "));
            }
            Err(failure) => {
                eprintln!("embed: {text}: {failure}");
                failed = true;
            }
        }
    }
    if let Err(failure) = gate.close() {
        eprintln!("embed: shutdown: {failure}");
    }
    ExitCode::from(failed as u8)
}
