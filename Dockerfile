# Build with: docker build -t resource-lock-manager .

# The full image has what compiles better-sqlite3 where no prebuilt binary can be fetched.
FROM node:24.22.3-bookworm AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json ./
COPY migrations ./migrations
COPY src ./src
RUN npx tsc -b src && npm run bundle && npm prune --omit=dev

FROM node:24.22.3-bookworm-slim
LABEL org.opencontainers.image.title="Resource Lock Manager" \
      org.opencontainers.image.description="An HTTP lock service: exclusive, expiring locks with fencing tokens, kept in SQLite or PostgreSQL." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/node:24.22.3-bookworm-slim"
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8000 DATABASE_URL=sqlite:////data/resource_locks.db
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# No VOLUME: an instance on PostgreSQL would leave an empty one behind each time. For SQLite mount one: --volume locks:/data
RUN mkdir /data && chown node:node /data
USER node
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["node", "dist/src/health-check.js"]
CMD ["node", "dist/src/server.js"]
