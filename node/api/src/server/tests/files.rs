//! Secrets and configs.

use super::*;
use crate::cluster::files::Files;
use crate::wire::file::{Config, ConfigSpec, FileCreated, Secret, SecretSpec};

#[async_trait::async_trait]
impl Files for Fake {
    async fn secrets(&self, _: &Caller, filters: &Filters) -> Result<Vec<Secret>, Problem> {
        self.note(format!("secrets {}", filters.to_json()));
        Ok(Vec::new())
    }

    async fn secret(&self, _: &Caller, reference: &str) -> Result<Secret, Problem> {
        Err(Problem::not_found("secret", reference))
    }

    async fn create_secret(&self, _: &Caller, spec: SecretSpec) -> Result<FileCreated, Problem> {
        let n_bytes = spec.data.map_or(0, |data| data.as_bytes().len());
        self.note(format!("create secret {} of {n_bytes} bytes", spec.name));
        Ok(FileCreated { id: "new".to_owned() })
    }

    async fn update_secret(
        &self,
        _: &Caller,
        reference: &str,
        version: u64,
        spec: SecretSpec,
    ) -> Result<(), Problem> {
        self.note(format!("update secret {reference} at {version} with {:?}", spec.labels));
        Ok(())
    }

    async fn remove_secret(&self, _: &Caller, reference: &str) -> Result<(), Problem> {
        self.note(format!("remove secret {reference}"));
        Ok(())
    }

    async fn configs(&self, _: &Caller, filters: &Filters) -> Result<Vec<Config>, Problem> {
        self.note(format!("configs {}", filters.to_json()));
        Ok(Vec::new())
    }

    async fn config(&self, _: &Caller, reference: &str) -> Result<Config, Problem> {
        let spec = ConfigSpec { data: Some(b"key=val\n".to_vec().into()), ..ConfigSpec::default() };
        Ok(Config { id: reference.to_owned(), spec, ..Config::default() })
    }

    async fn create_config(&self, _: &Caller, spec: ConfigSpec) -> Result<FileCreated, Problem> {
        let n_bytes = spec.data.map_or(0, |data| data.as_bytes().len());
        self.note(format!("create config {} of {n_bytes} bytes", spec.name));
        Ok(FileCreated { id: "new".to_owned() })
    }

    async fn update_config(
        &self,
        _: &Caller,
        reference: &str,
        version: u64,
        spec: ConfigSpec,
    ) -> Result<(), Problem> {
        self.note(format!("update config {reference} at {version} with {:?}", spec.labels));
        Ok(())
    }

    async fn remove_config(&self, _: &Caller, reference: &str) -> Result<(), Problem> {
        self.note(format!("remove config {reference}"));
        Ok(())
    }
}

#[tokio::test]
async fn files_are_made_shown_and_removed_as_docker_does() {
    let labels = r#"{"Name":"s1","Labels":{"a":"b"}}"#;
    for (method, path, body, status, noted) in [
        (
            Method::POST,
            "/v1.41/secrets/create",
            r#"{"Name":"s1","Labels":{},"Data":"aHVudGVyMg=="}"#,
            "201",
            "create secret s1 of 7 bytes",
        ),
        (
            Method::GET,
            "/secrets?filters=%7B%22names%22%3A%7B%22s1%22%3Atrue%7D%7D",
            "",
            "200",
            "secrets {\"names\":{\"s1\":true}}",
        ),
        (
            Method::POST,
            "/secrets/s1/update?version=7",
            labels,
            "200",
            "update secret s1 at 7 with {\"a\": \"b\"}",
        ),
        (Method::DELETE, "/secrets/s1", "", "204", "remove secret s1"),
        (
            Method::POST,
            "/configs/create",
            r#"{"Name":"c1","Labels":null,"Data":"a2V5PXZhbAo="}"#,
            "201",
            "create config c1 of 8 bytes",
        ),
        (Method::GET, "/configs", "", "200", "configs "),
        (
            Method::POST,
            "/configs/c1/update?version=7",
            labels,
            "200",
            "update config c1 at 7 with {\"a\": \"b\"}",
        ),
        (Method::DELETE, "/configs/c1", "", "204", "remove config c1"),
    ] {
        let leader = Fake::new(Leads::Itself);
        let elsewhere = Fake::new(Leads::Other(Arc::clone(&leader)));
        let shown = show(&elsewhere, method, path, body).await;
        assert!(shown.starts_with(status), "{path}: {shown}");
        assert_eq!(*leader.seen.lock().unwrap(), [noted], "the leader is asked");
    }
}

#[tokio::test]
async fn files_are_refused_in_dockers_words() {
    for (method, path, body, message) in [
        (Method::GET, "/secrets/nosuch", "", "secret nosuch not found"),
        (
            Method::GET,
            "/secrets?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D",
            "",
            "invalid filter 'bogus'",
        ),
        (
            Method::POST,
            "/secrets/s1/update",
            "{}",
            "invalid secret version '': strconv.ParseUint: parsing \\\"\\\": invalid syntax",
        ),
        (
            Method::POST,
            "/configs/create",
            r#"{"Data":"no base64"}"#,
            "invalid JSON: illegal base64 data",
        ),
    ] {
        let shown = show(&Fake::new(Leads::Itself), method, path, body).await;
        assert!(shown.contains(message), "{path}: {shown}");
    }
    let shown = show(&Fake::new(Leads::Itself), Method::GET, "/configs/c1", "").await;
    assert!(shown.contains(r#""Data":"a2V5PXZhbAo=""#), "{shown}");
}
