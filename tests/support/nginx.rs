//! nginx, the real one, in the foreground and under a configuration of the test's own.

use crate::daemon::Daemon;

/// A running nginx; dropping it ends it.
#[derive(Debug)]
pub struct Nginx(Daemon);

impl Nginx {
    /// Starts nginx with one server. In `server`, `$PORT` and `$DIR` stand for its port and its folder, where `files` are.
    /// Absent, after a line on standard error, where nginx is not installed.
    ///
    /// # Panics
    /// If it does not start, or is missing though servers are required.
    pub async fn start(server: &str, files: &[(&str, &str)]) -> Option<Self> {
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid $DIR/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{ access_log off; client_body_temp_path $DIR/body; proxy_temp_path $DIR/proxy;\n\
             fastcgi_temp_path $DIR/f; uwsgi_temp_path $DIR/u; scgi_temp_path $DIR/s;\n\
             server {{ {server} }} }}\n"
        );
        let files = [&[("nginx.conf", configuration.as_str())], files].concat();
        let arguments = ["-c", "$DIR/nginx.conf", "-p", "$DIR", "-e", "stderr"];
        Daemon::start("nginx", "apt-get install nginx-light", &arguments, &files).await.map(Self)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}
