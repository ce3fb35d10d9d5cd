//! Tells the programs which versions of the drivers they are built with, from Cargo.lock.

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("Cargo.lock");
    for name in ["sqlx", "mysql_async"] {
        let entry = lock
            .split("[[package]]")
            .find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
        let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
        println!(
            "cargo::rustc-env={}_VERSION={}",
            name.to_uppercase(),
            version.unwrap_or("?")
        );
    }
}
