"""Command lines from the habits of Docker, Kubernetes, systemd, Fly, Capistrano, Heroku, Terraform and Ansible."""

from __future__ import annotations

from tests.golden.mistake_cases import words

DOCKER = (
    words("docker-ps", "docker ps", "docker", "dynoctl ps"),
    words("docker-exec-it", "docker exec -it web.1 bash", "docker", "dynoctl run bash"),
    words("docker-exec-alone", "exec -it web.1 bash", "exec", "dynoctl run bash"),
    words("docker-logs", "docker logs -f web.1", "docker", "dynoctl logs --follow --dyno web.1"),
    words("docker-compose-up", "docker compose up -d", "docker", "dynoctl apply"),
    words("docker-compose-stop", "compose stop", "compose stop", "dynoctl scale TYPE=0"),
    words("docker-images", "images", "images", "app.source"),
    words("docker-inspect", "inspect web.1", "inspect", "dynoctl ps web.1"),
    words("docker-volume", "volume ls", "volume", "volumes: of dyno.yaml"),
    words("docker-cp", "cp web.1:/app/x .", "cp", "volumes: of dyno.yaml"),
    words("docker-port", "port web.1", "port", "dynoctl ps"),
    words("docker-ps-all", "ps -a", "-a", "shows all dynos"),
    words("docker-system-prune", "system prune", "system prune", "keep: of dyno.yaml"),
)

KUBERNETES = (
    words("kubectl-get-pods", "kubectl get pods", "kubectl", "dynoctl ps"),
    words("kubectl-get-alone", "get pods", "get pods", "dynoctl ps"),
    words("kubectl-describe", "describe web.1", "describe", "dynoctl ps web.1"),
    words("kubectl-rollout-restart", "rollout restart deployment/web", "rollout restart", "dynoctl restart web"),
    words("kubectl-rollout-undo", "rollout undo", "rollout undo", "dynoctl rollback"),
    words("kubectl-rollout-status", "rollout status", "rollout status", "dynoctl ps"),
    words("kubectl-cordon", "cordon grid-1", "cordon", "drain: true"),
    words("kubectl-uncordon", "uncordon grid-1", "uncordon", "remove drain: true"),
    words("kubectl-autoscale", "autoscale web", "autoscale", "dynoctl scale TYPE=N"),
    words("kubectl-set-image", "set image web=1", "set image", "dynoctl apply"),
    words("kubectl-label", "label grid-1 rack=a", "label", "set labels of the server"),
    words("kubectl-events", "events", "events", "dynoctl history"),
    words("kubectl-config-view", "config view", "config view", "dynoctl config"),
    words("kubectl-context", "config use-context staging", "config use-context", "-d NAME"),
    words("kubectl-port-forward", "port-forward web.1 8080", "port-forward", "dynoctl ps"),
)

SYSTEMD = (
    words("systemctl-restart", "systemctl restart web.1", "systemctl", "dynoctl restart web.1"),
    words("systemctl-is-active", "is-active web.1", "is-active", "dynoctl ps web.1"),
    words("systemctl-disable", "disable web", "disable", "dynoctl scale TYPE=0"),
    words("systemctl-daemon-reload", "daemon-reload", "daemon-reload", "reloads systemd"),
    words("systemctl-list-timers", "list-timers", "list-timers", "dynoctl ps"),
    words("systemctl-show", "show web.1", "saved plan web.1 not found", "dynoctl ps web.1"),
    words("journalctl-unit", "journalctl -u web.1", "journalctl", "dynoctl logs"),
)

OTHERS = (
    words("heroku-logs-tail-as-a-topic", "logs:tail", "logs:tail", "dynoctl logs --follow"),
    words("heroku-review-apps", "reviewapps:create", "reviewapps:create", "dynoctl preview up NAME"),
    words("heroku-slugs", "slugs", "slugs", "dynoctl releases"),
    words("heroku-stack", "stack:set heroku-24", "stack:set", "set ruby and app_server"),
    words("heroku-local", "local web", "local", "dynoctl lab up"),
    words("heroku-config-json", "config -j", "-j", "dynoctl config --json"),
    words("heroku-releases-retry", "releases:retry v3", "releases:retry", "dynoctl apply"),
    words("cap-rollback", "deploy:rollback", "deploy:rollback", "dynoctl rollback"),
    words("cap-restart", "deploy:restart", "deploy:restart", "dynoctl restart"),
    words("cap-check", "deploy:check", "deploy:check", "dynoctl doctor"),
    words("cap-migrate", "deploy:migrate", "deploy:migrate", "release_command of dyno.yaml"),
    words("cap-stage-without-cap", "production deploy", "production", "-d NAME"),
    words("cap-bundler", "bundler:install", "bundler:install", "app.build"),
    words("cap-linked-files", "linked_files:upload", "linked_files:upload", "volumes: of dyno.yaml"),
    words("cap-puma", "puma:restart", "puma:restart", "dynoctl restart web"),
    words("fly-deploy", "fly deploy", "fly", "dynoctl apply"),
    words("terraform-out-in-two-words", "plan -out plan.bin", "-out", "dynoctl plan --out PLAN"),
    words("ansible-playbook-alone", "ansible-playbook site.yml", "ansible-playbook", "dynoctl apply"),
    words("ansible-adhoc", "adhoc all -m ping", "adhoc", "dynoctl run COMMAND"),
    words("anybody-install", "install", "install", "dynoctl doctor"),
    words("anybody-cluster", "cluster-info", "cluster-info", "dynoctl doctor"),
    words("anybody-set", "set LOG_LEVEL=hunter2", "set", "dynoctl config set LOG_LEVEL=VALUE"),
    words("anybody-export", "export API_KEY=hunter2", "export", "dynoctl config set API_KEY=VALUE"),
)
